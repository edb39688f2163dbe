//! Runs every check and prints what it found.

use std::process::ExitCode;

use super::tree::{Finding, Tree};
use super::{
    documents, layering, matches_statement, naming, paths, reach, size, table_of_contents,
};

type Check = fn(&Tree) -> Vec<Finding>;

/// Every check by the name it is reported under.
const CHECKS: &[(&str, Check)] = &[
    ("layering", layering::check),
    ("purity", layering::check_purity),
    ("file documentation", documents::check_file_docs),
    ("invariants", documents::check_invariants),
    ("metrics", documents::check_metrics),
    ("file size", size::check),
    ("mod.rs", table_of_contents::check),
    ("names", naming::check),
    ("undeclared files", reach::check),
    ("bare matches!", matches_statement::check),
    ("machine paths", paths::check),
];

/// Checks the repository that the current directory is in. With `bless`, first rewrites the
/// ratchet to the sizes of today.
pub(crate) fn run(bless: bool) -> ExitCode {
    let tree = match Tree::of_repository() {
        Ok(tree) => tree,
        Err(error) => {
            eprintln!("tidy: {error}");
            return ExitCode::from(2);
        }
    };
    if bless {
        return match size::bless(&tree) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("tidy: {error}");
                ExitCode::from(2)
            }
        };
    }
    let (mut passed, mut failed) = (0, 0);
    for (name, check) in CHECKS {
        let findings = check(&tree);
        if findings.is_empty() {
            passed += 1;
        } else {
            failed += 1;
        }
        for finding in findings {
            eprintln!("tidy: {name}: {finding}");
        }
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    eprintln!("tidy: {} files looked at", tree.files().count());
    // The form of cargo's own runners, which `./dev test` adds up.
    eprintln!("test result: {verdict}. {passed} passed; {failed} failed; 0 ignored");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
