//! Module names that say nothing: what is called so collects what has no place.

use super::tree::{Finding, Tree};

const FORBIDDEN: &[&str] = &[
    "common", "helper", "helpers", "impls", "manager", "misc", "serde", "shared", "stuff", "types",
    "util", "utils",
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, _) in tree.rust() {
        for part in path.trim_end_matches(".rs").split('/') {
            if let Some(name) = part.split('_').find(|word| FORBIDDEN.contains(word)) {
                findings.push(Finding::new(
                    path,
                    0,
                    format!("`{name}` does not say what is in it"),
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawers_are_found_and_other_names_are_not() {
        let count = |path: &str| check(&Tree::of(&[(path, "")])).len();
        assert_eq!(count("src/state/utils.rs"), 1);
        assert_eq!(count("src/common/mod.rs"), 1);
        assert_eq!(count("src/task_manager.rs"), 1);
        assert_eq!(count("src/state/key_group.rs"), 0);
        assert_eq!(count("src/utility_of_water.rs"), 0);
    }
}
