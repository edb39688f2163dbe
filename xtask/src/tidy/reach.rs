//! Every Rust file is declared by another: one that nobody declares is neither compiled nor run, and
//! no compiler says so. For a file of tests that would mean tests that never run.

use super::code;
use super::tree::{Finding, Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let tests_found =
        !tree.get("Cargo.toml").is_some_and(|manifest| manifest.contains("autotests = false"));
    for (path, _) in tree.rust() {
        if !is_root(path, tests_found) && !is_declared(tree, path) {
            findings.push(Finding::new(path, 0, "no `mod` declares it, so it is never compiled"));
        }
    }
    findings
}

/// Whether cargo finds the file by itself; tests only without `autotests = false`, under which the
/// manifest names them.
fn is_root(path: &str, tests_found: bool) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        ["tests", _] | ["tests", _, "main.rs"] => tests_found,
        [.., "main.rs" | "lib.rs" | "build.rs"] | ["benches" | "examples", _] => true,
        _ => false,
    }
}

fn is_declared(tree: &Tree, path: &str) -> bool {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    // `a/b/mod.rs` is the module `b` of `a`; `a/b.rs` too.
    let (folder, name) = match file {
        "mod.rs" => folder.rsplit_once('/').unwrap_or(("", folder)),
        _ => (folder, file.trim_end_matches(".rs")),
    };
    let parents = ["mod.rs", "lib.rs", "main.rs"].map(|parent| format!("{folder}/{parent}"));
    let by_name = parents.iter().chain([&format!("{folder}.rs")]).any(|parent| {
        tree.get(parent).is_some_and(|source| {
            let code = code::without_comments_and_literals(source);
            code.lines().any(|line| declares(line, name))
        })
    });
    by_name || is_pointed_at(tree, path, file)
}

/// Whether the line is `mod name;` with whatever visibility.
fn declares(line: &str, name: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    words
        .windows(2)
        .any(|pair| matches!(pair, ["mod", declared] if declared.trim_end_matches(';') == name))
}

/// Whether some file names it in `#[path = ".."]` or a manifest in `path = ".."`.
fn is_pointed_at(tree: &Tree, path: &str, file: &str) -> bool {
    tree.files().any(|(from, text)| {
        (from.ends_with(".rs") || from.ends_with("Cargo.toml"))
            && text.lines().filter_map(|line| line.split_once("path = \"")?.1.split_once('"')).any(
                |(target, _)| {
                    let target = target.trim_start_matches("./").trim_start_matches("../");
                    target.ends_with(file) && path.ends_with(target.trim_start_matches("../"))
                },
            )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(files: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::of(files)).into_iter().map(|finding| finding.path).collect()
    }

    #[test]
    fn a_test_that_the_manifest_does_not_name_is_found() {
        let main = ("tests/it/main.rs", "");
        let manifest = ("Cargo.toml", "autotests = false\n");
        assert_eq!(lost(&[main, manifest]), ["tests/it/main.rs"]);
        assert_eq!(lost(&[main, ("Cargo.toml", "")]), [""; 0]);
    }

    #[test]
    fn a_test_file_that_nobody_declares_is_found() {
        let main = ("tests/it/main.rs", "mod rebalance;\n// mod restore;\n");
        let found = lost(&[main, ("tests/it/rebalance.rs", ""), ("tests/it/restore.rs", "")]);
        assert_eq!(found, ["tests/it/restore.rs"]);
    }

    #[test]
    fn declared_files_are_not() {
        let found = lost(&[
            ("src/lib.rs", "pub mod state;\n"),
            ("src/state/mod.rs", "pub(crate) mod store;\n"),
            ("src/state/store.rs", "#[cfg(test)]\n#[path = \"store_tests.rs\"]\nmod tests;\n"),
            ("src/state/store_tests.rs", ""),
            ("tests/it/main.rs", ""),
            (
                "Cargo.toml",
                "autotests = false\n[[test]]\nname = \"it\"\npath = \"tests/it/main.rs\"\n",
            ),
            ("topologies/ledger/topology.rs", ""),
            ("src/topologies.rs", "#[path = \"../topologies/ledger/topology.rs\"]\nmod ledger;\n"),
            ("src/main.rs", "mod topologies;\n"),
        ]);
        assert_eq!(found, [""; 0]);
    }
}
