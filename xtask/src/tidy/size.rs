//! Files stay small enough to be read. What is longer than it should be stands in the ratchet with
//! its length, which may only fall.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::code;
use super::tree::{Finding, Tree};

/// Longer files have to be in the ratchet; files of tests only keep to the cap.
const LIMIT: usize = 400;
/// No file is longer, ratchet or not.
const CAP: usize = 900;
const RATCHET: &str = "xtask/ratchet.txt";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let ratchet = match read_ratchet(tree) {
        Ok(ratchet) => ratchet,
        Err(finding) => return vec![finding],
    };
    let mut findings = Vec::new();
    for (path, source) in tree.rust() {
        let lines = length(source);
        let allowed = ratchet.get(path).copied().unwrap_or(LIMIT);
        if lines > CAP {
            findings.push(Finding::new(path, 0, format!("{lines} lines, the cap is {CAP}")));
        } else if lines > allowed && !code::is_test_file(path) {
            findings.push(Finding::new(path, 0, format!("{lines} lines, allowed are {allowed}")));
        }
    }
    for path in ratchet.keys() {
        if !tree.get(path).is_some_and(|source| needs_a_line(path, source)) {
            let message = format!("{path} no longer needs a line here: cargo xtask tidy --bless");
            findings.push(Finding::new(RATCHET, 0, message));
        }
    }
    findings
}

/// Lines before the test module: tests are long because cases are many.
fn length(source: &str) -> usize {
    code::production(source).lines().count()
}

fn needs_a_line(path: &str, source: &str) -> bool {
    length(source) > LIMIT && !code::is_test_file(path)
}

fn read_ratchet(tree: &Tree) -> Result<BTreeMap<&str, usize>, Finding> {
    let mut ratchet = BTreeMap::new();
    for (index, line) in tree.get(RATCHET).unwrap_or_default().lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let entry =
            line.split_once(' ').and_then(|(lines, path)| Some((path, lines.parse().ok()?)));
        let Some((path, lines)) = entry else {
            return Err(Finding::new(RATCHET, index + 1, "is not `LINES PATH`"));
        };
        ratchet.insert(path, lines);
    }
    Ok(ratchet)
}

/// Writes the ratchet anew: every file over the limit with the length it has now.
pub(super) fn bless(tree: &Tree) -> Result<(), String> {
    let mut text = String::from(
        "# Files over 400 lines with the length they may have, which only falls. Rewritten by\n\
         # `./dev tidy --bless`; a line that grows here is a change to be argued for.\n",
    );
    for (path, source) in tree.rust().filter(|(path, source)| needs_a_line(path, source)) {
        writeln!(text, "{} {path}", length(source)).map_err(|error| error.to_string())?;
    }
    std::fs::write(tree.root().join(RATCHET), text).map_err(|error| format!("{RATCHET}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(lines: usize, ratchet: &str) -> usize {
        let source = "x\n".repeat(lines);
        check(&Tree::of(&[("src/a.rs", source.as_str()), (RATCHET, ratchet)])).len()
    }

    #[test]
    fn a_long_file_is_found_unless_the_ratchet_knows_it() {
        assert_eq!(count(400, ""), 0);
        assert_eq!(count(401, ""), 1);
        assert_eq!(count(450, "# why\n450 src/a.rs\n"), 0);
        assert_eq!(count(451, "450 src/a.rs\n"), 1);
    }

    #[test]
    fn the_cap_and_stale_lines_hold_for_the_ratchet_too() {
        assert_eq!(count(901, "901 src/a.rs\n"), 1);
        assert_eq!(count(300, "450 src/a.rs\n"), 1);
        assert_eq!(count(450, "450 src/a.rs\n500 src/gone.rs\n"), 1);
        assert_eq!(count(10, "no number\n"), 1);
    }

    #[test]
    fn tests_do_not_count() {
        let source = format!("x\n#[cfg(test)]\nmod tests {{\n{}}}\n", "y\n".repeat(500));
        assert!(check(&Tree::of(&[("src/a.rs", &source)])).is_empty());
        let source = "y\n".repeat(800);
        assert!(check(&Tree::of(&[("src/a_tests.rs", &source)])).is_empty());
        let source = "y\n".repeat(901);
        assert_eq!(check(&Tree::of(&[("src/a_tests.rs", &source)])).len(), 1);
    }
}
