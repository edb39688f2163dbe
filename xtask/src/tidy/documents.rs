//! What is written down beside the code: a `//!` on every file, every guarantee in
//! `docs/INVARIANTS.md`, every metric in `docs/METRICS.md`.

use std::collections::BTreeSet;

use super::tree::{Finding, Tree};

const INVARIANTS: &str = "docs/INVARIANTS.md";
const METRICS: &str = "docs/METRICS.md";
const METRICS_SOURCE: &str = "src/ops/metrics.rs";
/// The families of guarantees.
const FAMILIES: &[&str] = &["EOS", "ORD", "TIME", "MEM", "DATA", "ERR"];

pub(super) fn check_file_docs(tree: &Tree) -> Vec<Finding> {
    tree.rust()
        .filter(|(_, source)| !source.starts_with("//! "))
        .map(|(path, _)| Finding::new(path, 1, "does not open with `//!`: what it owns"))
        .collect()
}

/// Each guarantee has a section; each section's guarantee is cited by code; and code cites none
/// that has no section.
pub(super) fn check_invariants(tree: &Tree) -> Vec<Finding> {
    let Some(page) = tree.get(INVARIANTS) else {
        return vec![Finding::new(INVARIANTS, 0, "is missing")];
    };
    let mut cited = BTreeSet::new();
    let mut findings = Vec::new();
    let documented: BTreeSet<String> =
        page.lines().filter_map(|line| line.strip_prefix("## ")).flat_map(ids).collect();
    for (path, source) in tree.rust().filter(|(path, _)| !path.starts_with("xtask/")) {
        for (index, line) in source.lines().enumerate() {
            for id in ids(line) {
                if !documented.contains(&id) {
                    let message = format!("cites {id}, which {INVARIANTS} does not have");
                    findings.push(Finding::new(path, index + 1, message));
                }
                cited.insert(id);
            }
        }
    }
    for section in page.split("\n## ").skip(1) {
        let Some(id) = section.lines().next().and_then(|title| ids(title).into_iter().next())
        else {
            continue;
        };
        if !cited.contains(&id) {
            findings.push(Finding::new(INVARIANTS, 0, format!("no code cites {id}")));
        }
    }
    if documented.is_empty() {
        findings.push(Finding::new(INVARIANTS, 0, "has no guarantee in its headings"));
    }
    findings
}

/// Every guarantee's number in the line: a family, a dash, digits.
fn ids(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for family in FAMILIES {
        for (at, _) in line.match_indices(family) {
            let before = line.get(..at).unwrap_or_default();
            let after = line.get(at + family.len()..).unwrap_or_default();
            let Some(after) = after.strip_prefix('-') else { continue };
            let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
            if !digits.is_empty() && !before.ends_with(|c: char| c.is_alphanumeric() || c == '-') {
                found.push(format!("{family}-{digits}"));
            }
        }
    }
    found
}

/// The names in the source of the metrics and on their page are the same.
pub(super) fn check_metrics(tree: &Tree) -> Vec<Finding> {
    let Some(source) = tree.get(METRICS_SOURCE) else {
        eprintln!("tidy: metrics: skipped, there is no {METRICS_SOURCE}");
        return Vec::new();
    };
    let Some(page) = tree.get(METRICS) else {
        return vec![Finding::new(METRICS, 0, "is missing")];
    };
    let in_source = metric_names(source, '"');
    let on_page = metric_names(page, '`');
    let mut findings = Vec::new();
    for name in in_source.difference(&on_page) {
        findings.push(Finding::new(METRICS, 0, format!("does not have `{name}`")));
    }
    for name in on_page.difference(&in_source) {
        findings.push(Finding::new(METRICS_SOURCE, 0, format!("does not have \"{name}\"")));
    }
    if in_source.is_empty() {
        findings.push(Finding::new(METRICS_SOURCE, 0, "has no metric"));
    }
    findings
}

/// Words between two `quote`s that are a metric's name.
fn metric_names(text: &str, quote: char) -> BTreeSet<&str> {
    let is_name = |word: &&str| {
        word.starts_with("tidemill_")
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    text.lines().flat_map(|line| line.split(quote)).filter(is_name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_its_purpose_is_found() {
        let tree = Tree::of(&[("src/a.rs", "//! What it owns.\n"), ("src/b.rs", "fn f() {}\n")]);
        assert_eq!(
            check_file_docs(&tree),
            [Finding::new("src/b.rs", 1, "does not open with `//!`: what it owns")]
        );
    }

    fn invariants(page: &str, code: &str) -> usize {
        check_invariants(&Tree::of(&[(INVARIANTS, page), ("src/a.rs", code)])).len()
    }

    #[test]
    fn guarantees_and_code_cite_each_other() {
        assert_eq!(invariants("# P\n\n## EOS-1: x\n\ny\n", "// EOS-1 holds\n"), 0);
        assert_eq!(invariants("# P\n\n## EOS-1: x\n\ny\n", "// nothing\n"), 1);
        assert_eq!(invariants("# P\n\n## EOS-1: x\n\ny\n", "// EOS-1 and EOS-10\n"), 1);
        assert_eq!(invariants("# P\n", "// nothing\n"), 1);
        assert_eq!(check_invariants(&Tree::of(&[("src/a.rs", "")])).len(), 1);
    }

    #[test]
    fn a_number_is_read_to_its_end_and_not_out_of_other_words() {
        assert_eq!(ids("see EOS-12, ORD-1."), ["EOS-12", "ORD-1"]);
        assert!(ids("XEOS-1 EOS- RUNTIME-1 A-TIME-1").is_empty());
    }

    #[test]
    fn metrics_are_the_same_in_both_places() {
        let count = |source: &str, page: &str| {
            check_metrics(&Tree::of(&[(METRICS_SOURCE, source), (METRICS, page)])).len()
        };
        assert_eq!(count("\"tidemill_a_total\"", "| `tidemill_a_total` |"), 0);
        assert_eq!(count("\"tidemill_a_total\"", "| `tidemill_b_total` |"), 2);
        assert_eq!(count("", ""), 1);
        assert!(check_metrics(&Tree::of(&[])).is_empty());
    }
}
