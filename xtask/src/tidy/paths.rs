//! No tracked file knows the machine on which it was written.

use super::tree::{Finding, Tree};

/// Absolute directories that exist on somebody's machine only. Written in parts, so that this file
/// does not find itself.
const MACHINE: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files() {
        for (index, line) in text.lines().enumerate() {
            for directory in MACHINE.iter().filter(|directory| stands_alone(line, directory)) {
                let message = format!("`{directory}` is a directory of one machine");
                findings.push(Finding::new(path, index + 1, message));
            }
        }
    }
    findings
}

/// Whether an absolute path begins with `directory` in `line`: `a/work/b` is a relative one.
fn stands_alone(line: &str, directory: &str) -> bool {
    line.match_indices(directory).any(|(at, _)| {
        let before = line.get(..at).unwrap_or_default();
        !before.ends_with(|c: char| c.is_alphanumeric() || "_-.~})/".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_paths_are_found_and_relative_ones_are_not() {
        let count = |text: &str| check(&Tree::of(&[("docs/a.md", text)])).len();
        assert_eq!(count(concat!("see /wo", "rk/main")), 1);
        assert_eq!(count(concat!("(\"/ro", "ot/.cache\")")), 1);
        assert_eq!(count(concat!("see ./wo", "rk/main and net", "wo", "rk/x")), 0);
        assert_eq!(count("see /var/lib/tidemill"), 0);
    }
}
