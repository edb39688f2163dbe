//! Who may use whom, and which modules are pure: the table in `docs/ARCHITECTURE.md` is the law, the
//! `crate::` paths in `src/` are the facts.

use std::collections::{BTreeMap, BTreeSet};

use super::code;
use super::tree::{Finding, Tree};

const PAGE: &str = "docs/ARCHITECTURE.md";
/// The header of the table that is read; the page may hold others.
const HEADER: &str = "| module | pure | may use |";

/// What pure code does not say. Threads, clocks, environment and client libraries are the drivers'
/// and adapters'; a hash map of the standard library has an order that differs from run to run.
const IMPURE: &[&str] = &[
    "rdkafka",
    "rdkafka_sys",
    "tokio",
    "reqwest",
    "axum",
    "std::thread",
    "thread::sleep",
    "thread::spawn",
    "Instant::now",
    "SystemTime::now",
    "std::env",
    "std::fs",
    "std::net",
    "async fn",
    "HashMap::new",
    "HashSet::new",
];

/// One row: a module by its path below `src/`.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    pure: bool,
    may_use: BTreeSet<String>,
}

type Table = BTreeMap<String, Row>;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let table = match read_table(tree) {
        Ok(table) => table,
        Err(finding) => return vec![finding],
    };
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for (path, source) in tree.rust() {
        let Some(module) = path.strip_prefix("src/") else { continue };
        if module == "lib.rs" {
            continue;
        }
        let Some((name, row)) = row_of(&table, stem(module)) else {
            findings.push(Finding::new(path, 0, format!("its module is in no row of {PAGE}")));
            continue;
        };
        seen.insert(name);
        if code::is_test_file(path) {
            continue;
        }
        for (line, target) in
            crate_paths(&code::without_comments_and_literals(code::production(source)))
        {
            let used = row_of(&table, &target).map_or(target.as_str(), |(used, _)| used);
            if used != name && !row.may_use.contains(used) {
                let message = format!("`{name}` may not use `{used}` ({PAGE})");
                findings.push(Finding::new(path, line, message));
            }
        }
    }
    for (name, row) in &table {
        if !seen.contains(name.as_str()) {
            findings.push(Finding::new(PAGE, 0, format!("no file in src belongs to `{name}`")));
        }
        for used in row.may_use.iter().filter(|used| !table.contains_key(*used)) {
            findings.push(Finding::new(
                PAGE,
                0,
                format!("`{name}` may use `{used}`, which has no row"),
            ));
        }
    }
    findings
}

pub(super) fn check_purity(tree: &Tree) -> Vec<Finding> {
    let Ok(table) = read_table(tree) else { return Vec::new() };
    let mut findings = Vec::new();
    for (path, source) in tree.rust() {
        let Some(module) = path.strip_prefix("src/") else { continue };
        if code::is_test_file(path)
            || !row_of(&table, stem(module)).is_some_and(|(_, row)| row.pure)
        {
            continue;
        }
        let code = code::without_comments_and_literals(code::production(source));
        for (index, line) in code.lines().enumerate() {
            for word in IMPURE.iter().filter(|word| has_word(line, word)) {
                let message = format!("`{word}` in a pure module ({PAGE})");
                findings.push(Finding::new(path, index + 1, message));
            }
        }
    }
    findings
}

/// The module that a file below `src/` is, or is the test of.
fn stem(file: &str) -> &str {
    file.trim_end_matches(".rs").trim_end_matches("/mod").trim_end_matches("_tests")
}

/// The row with the longest path that is `module` or above it.
fn row_of<'a>(table: &'a Table, module: &str) -> Option<(&'a str, &'a Row)> {
    let mut path = module;
    loop {
        if let Some((name, row)) = table.get_key_value(path) {
            return Some((name, row));
        }
        path = path.rsplit_once('/')?.0;
    }
}

/// Reads the table from the page, and refuses what it cannot read.
fn read_table(tree: &Tree) -> Result<Table, Finding> {
    let page = tree.get(PAGE).ok_or_else(|| Finding::new(PAGE, 0, "is missing"))?;
    let lines = page.lines().enumerate().skip_while(|(_, line)| line.trim() != HEADER).skip(2);
    let mut table = Table::new();
    for (index, line) in lines.take_while(|(_, line)| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        let &[names, pure, may_use] = cells.as_slice() else {
            return Err(Finding::new(PAGE, index + 1, "a row of the table has three cells"));
        };
        for name in code_words(names) {
            let may_use = code_words(may_use).map(str::to_owned).collect();
            table.insert(name.to_owned(), Row { pure: pure == "yes", may_use });
        }
    }
    if table.is_empty() {
        return Err(Finding::new(PAGE, 0, format!("has no table with the header `{HEADER}`")));
    }
    Ok(table)
}

/// What stands between backticks.
fn code_words(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Every module path after `crate::` in blanked code, as `a/b/c`, with its line. Groups in braces
/// are opened: `crate::{a::b, c}` is two paths.
fn crate_paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code.get(..at).unwrap_or_default();
        if before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let line = before.matches('\n').count() + 1;
        let after = code.get(at + "crate::".len()..).unwrap_or_default();
        let mut paths = Vec::new();
        open(after, "", &mut paths);
        found.extend(paths.into_iter().map(|path| (line, path)));
    }
    found
}

/// Reads one use tree at the start of `rest` below `prefix`; returns what follows it.
fn open<'a>(rest: &'a str, prefix: &str, paths: &mut Vec<String>) -> &'a str {
    let rest = rest.trim_start();
    if let Some(mut inner) = rest.strip_prefix('{') {
        loop {
            inner = inner.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            if let Some(after) = inner.strip_prefix('}') {
                return after;
            }
            let after = open(inner, prefix, paths);
            if after.len() == inner.len() {
                return after; // not a use tree: leave it
            }
            inner = after;
        }
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    if word.is_empty() {
        return rest.strip_prefix('*').unwrap_or(rest);
    }
    let path = if prefix.is_empty() { word.to_owned() } else { format!("{prefix}/{word}") };
    if let Some(after) = after.strip_prefix("::") {
        // `a::b::<T>` is a path that ends in a type argument.
        let below = paths.len();
        let tail = open(after, &path, paths);
        if paths.len() == below {
            paths.push(path);
        }
        return tail;
    }
    paths.push(path);
    after
        .strip_prefix(" as ")
        .map_or(after, |alias| alias.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'))
}

/// Whether `word` stands in `line` by itself.
fn has_word(line: &str, word: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).unwrap_or_default();
        let after = line.get(at + word.len()..).unwrap_or_default();
        !before.ends_with(is_word) && !after.starts_with(is_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "# Page\n\n| module | pure | may use |\n|---|---|---|\n\
        | `record` | yes | |\n| `time`, `state` | yes | `record` |\n| `state/rocksdb` | | `state`, `record` |\n";

    fn found(files: &[(&str, &str)], check: fn(&Tree) -> Vec<Finding>) -> Vec<String> {
        let mut all = vec![
            (PAGE, TABLE),
            ("src/record.rs", ""),
            ("src/time/mod.rs", ""),
            ("src/state/mod.rs", ""),
            ("src/state/rocksdb/mod.rs", ""),
        ];
        all.extend_from_slice(files);
        check(&Tree::of(&all)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_the_table_allows_passes() {
        let source = "use crate::record::{A, B};\nuse crate::time::C;\n";
        assert!(found(&[("src/time/timer.rs", source)], check).is_empty());
        let source = "use crate::{record::A, state::{B, c::{D, E}}};";
        assert!(found(&[("src/state/rocksdb/store.rs", source)], check).is_empty());
    }

    #[test]
    fn a_use_against_the_layers_is_found_at_its_line() {
        let findings = found(&[("src/record.rs", "//! x\nuse crate::time::Timer;\n")], check);
        assert_eq!(
            findings,
            ["src/record.rs:2: `record` may not use `time` (docs/ARCHITECTURE.md)"]
        );
        let inline = "fn f() { crate::state::rocksdb::open::<u8>(); }";
        assert_eq!(found(&[("src/state/open.rs", inline)], check).len(), 1);
        let grouped = "use crate::{record::A, time::B};";
        assert_eq!(found(&[("src/state/x.rs", grouped)], check).len(), 1);
    }

    #[test]
    fn comments_and_tests_may_name_anything() {
        let source = "// crate::time\n#[cfg(test)]\nmod tests {\n use crate::time::X;\n}\n";
        assert!(found(&[("src/record.rs", source)], check).is_empty());
        assert!(found(&[("src/state/store_tests.rs", "use crate::time::X;")], check).is_empty());
    }

    #[test]
    fn modules_and_rows_answer_each_other() {
        assert_eq!(found(&[("src/ops/mod.rs", "")], check).len(), 1);
        let tree = Tree::of(&[(PAGE, TABLE), ("src/record.rs", "")]);
        assert_eq!(check(&tree).len(), 3, "three rows without a file");
        assert_eq!(check(&Tree::of(&[("src/record.rs", "")])).len(), 1, "no page");
        assert_eq!(check(&Tree::of(&[(PAGE, "# no table")])).len(), 1, "no table");
    }

    #[test]
    fn pure_modules_have_no_clock() {
        let source = "fn f() { std::time::Instant::now(); }\n";
        assert_eq!(found(&[("src/time/x.rs", source)], check_purity).len(), 1);
        assert!(found(&[("src/state/rocksdb/x.rs", source)], check_purity).is_empty());
        assert!(found(&[("src/time/x.rs", "// Instant::now\n")], check_purity).is_empty());
        assert_eq!(found(&[("src/record.rs", "use tokio::time;")], check_purity).len(), 1);
        assert!(found(&[("src/record.rs", "let tokio_like = 1;")], check_purity).is_empty());
    }
}
