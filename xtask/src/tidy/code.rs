//! Looks at Rust source without parsing it: what is code, and which part of it is production code.

/// The source with comments and the contents of string and character literals replaced by spaces,
/// so that positions and lines stay as they are.
pub(super) fn without_comments_and_literals(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = skipped(rest, out.chars().last());
        if length == 0 {
            out.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
            continue;
        }
        let (blank, tail) = rest.split_at(length.min(rest.len()));
        out.extend(blank.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = tail;
    }
    out
}

/// How many bytes at the start of `rest` are a comment or a literal; 0 when it starts with code.
fn skipped(rest: &str, before: Option<char>) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with('"') {
        return string(rest, 1);
    }
    if !in_word && (rest.starts_with("b\"") || rest.starts_with("c\"")) {
        return string(rest, 2);
    }
    if !in_word && let Some(length) = raw_string(rest) {
        return length;
    }
    if rest.starts_with('\'') { character(rest) } else { 0 }
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while let Some(tail) = rest.get(at..) {
        if tail.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else if let Some(c) = tail.chars().next() {
            at += c.len_utf8();
        } else {
            break;
        }
    }
    rest.len()
}

fn string(rest: &str, prefix: usize) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(prefix) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn raw_string(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after.get(hashes..)?.strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = body.find(&close).map_or(body.len(), |at| at + close.len());
    Some(rest.len() - body.len() + end)
}

/// A character literal, as opposed to a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, c))) => {
            let tail = rest.get(at + c.len_utf8()..).unwrap_or_default();
            tail.find('\'').map_or(0, |end| at + c.len_utf8() + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

/// Whether the whole file is test code.
pub(super) fn is_test_file(path: &str) -> bool {
    path.starts_with("tests/")
        || path.contains("/tests/")
        || path.contains("/suite/")
        || path.starts_with("benches/")
        || path.ends_with("_tests.rs")
        || path.ends_with("/tests.rs")
}

/// The source up to its test module, which is the last thing in a file.
pub(super) fn production(source: &str) -> &str {
    let mut at = 0;
    let mut lines = source.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        let next = lines.peek().map_or("", |next| next.trim_start());
        if line.trim_end() == "#[cfg(test)]" && (next.starts_with("mod ") || next.starts_with('#'))
        {
            return source.get(..at).unwrap_or(source);
        }
        at += line.len();
    }
    source
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blank(source: &str) -> String {
        without_comments_and_literals(source).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_and_literals_are_blank() {
        assert_eq!(blank("a(); // tokio"), "a();");
        assert_eq!(blank("a /* x /* y */ z */ b"), "a b");
        assert_eq!(blank(r#"a("tok\"io", b)"#), "a( , b)");
        assert_eq!(blank("a(r#\"to\"kio\"#, b\"x\", c)"), "a( , , c)");
        assert_eq!(blank("a('x', '\\'', '\\u{1}', b)"), "a( , , , b)");
    }

    #[test]
    fn lifetimes_and_words_stay() {
        assert_eq!(blank("fn f<'a>(x: &'a str)"), "fn f<'a>(x: &'a str)");
        assert_eq!(blank("let bar = attr;"), "let bar = attr;");
    }

    #[test]
    fn lines_stay_where_they_are() {
        let source = "a\n/* b\nc */ d\n\"e\nf\" g\n";
        let blank = without_comments_and_literals(source);
        assert_eq!(blank.lines().count(), source.lines().count());
        assert_eq!(blank.lines().nth(2).map(str::trim), Some("d"));
    }

    #[test]
    fn production_ends_where_the_tests_begin() {
        assert_eq!(production("a\n#[cfg(test)]\nmod tests {\n}\n"), "a\n");
        assert_eq!(production("a\n#[cfg(test)]\n#[path = \"x\"]\nmod tests;\n"), "a\n");
        assert_eq!(production("a\n#[cfg(test)]\nfn b() {}\n"), "a\n#[cfg(test)]\nfn b() {}\n");
    }
}
