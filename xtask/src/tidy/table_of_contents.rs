//! A `mod.rs` is a table of contents: `//!`, `mod`, `use`, and nothing that does anything.

use super::code;
use super::tree::{Finding, Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in tree.rust().filter(|(path, _)| path.ends_with("/mod.rs")) {
        let code = code::without_comments_and_literals(source);
        let mut line = 1;
        for statement in code.split_inclusive(';') {
            let blank = statement.len() - statement.trim_start().len();
            let at = line + statement.get(..blank).unwrap_or_default().matches('\n').count();
            line += statement.matches('\n').count();
            let words = without_attributes(statement.trim());
            if !words.is_empty() && !is_declaration(words) {
                findings.push(Finding::new(path, at, "a mod.rs holds `mod` and `use` only"));
            }
        }
    }
    findings
}

fn without_attributes(mut statement: &str) -> &str {
    while statement.starts_with("#[") || statement.starts_with("#![") {
        let mut depth = 0usize;
        let end = statement.char_indices().find_map(|(at, c)| {
            match c {
                '[' => depth += 1,
                ']' => depth -= 1,
                _ => {}
            }
            (c == ']' && depth == 0).then_some(at + 1)
        });
        statement = end.and_then(|end| statement.get(end..)).unwrap_or_default().trim_start();
    }
    statement
}

fn is_declaration(statement: &str) -> bool {
    let mut rest = statement;
    if let Some(after) = rest.strip_prefix("pub") {
        rest = after.trim_start();
        if rest.starts_with('(') {
            rest = rest.split_once(')').map_or("", |(_, after)| after).trim_start();
        }
    }
    let module = rest.strip_prefix("mod ").is_some_and(|name| {
        name.trim_end_matches(';').trim().chars().all(|c| c.is_alphanumeric() || c == '_')
    });
    module || rest.starts_with("use ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(source: &str) -> Vec<usize> {
        check(&Tree::of(&[("src/a/mod.rs", source)])).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn declarations_pass() {
        let source = "//! What.\n\nmod a;\npub(crate) mod b;\n#[cfg(feature = \"x\")]\nmod c;\n\
            // why\npub use a::{\n  A, B,\n};\n";
        assert!(lines(source).is_empty());
        assert!(check(&Tree::of(&[("src/a/b.rs", "fn f() {}\n")])).is_empty());
    }

    #[test]
    fn logic_is_found() {
        assert_eq!(lines("mod a;\n\nfn f() {}\n"), [3]);
        assert_eq!(lines("mod a;\nconst X: u8 = 1;\n"), [2]);
        assert_eq!(lines("mod a {\n  fn f() {}\n}\n"), [1]);
    }
}
