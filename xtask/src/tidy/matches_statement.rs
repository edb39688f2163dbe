//! A `matches!(..);` that stands as a statement computes a boolean and throws it away: a check that
//! never fails. Neither rustc nor clippy reports it.

use super::code;
use super::tree::{Finding, Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in tree.rust() {
        let code = code::without_comments_and_literals(source);
        for (at, _) in code.match_indices("matches!") {
            let before = code.get(..at).unwrap_or_default();
            let after = code.get(at + "matches!".len()..).unwrap_or_default();
            let opens_statement = before.trim_end().is_empty()
                || before.trim_end().ends_with([';', '{', '}'])
                || before.trim_end().ends_with("std::");
            if opens_statement
                && closed(after).is_some_and(|rest| rest.trim_start().starts_with(';'))
            {
                let line = before.matches('\n').count() + 1;
                findings.push(Finding::new(
                    path,
                    line,
                    "`matches!(..);` checks nothing: assert it",
                ));
            }
        }
    }
    findings
}

/// What follows the group of brackets at the start of `rest`.
fn closed(rest: &str) -> Option<&str> {
    let mut depth = 0usize;
    for (at, c) in rest.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return rest.get(at + 1..);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(source: &str) -> Vec<usize> {
        check(&Tree::of(&[("tests/a.rs", source)])).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_thrown_away_answer_is_found() {
        assert_eq!(lines("fn f() {\n    matches!(x, Some(_));\n}\n"), [2]);
        assert_eq!(lines("a();\nmatches!(x,\n  A { .. }\n)\n;\n"), [2]);
    }

    #[test]
    fn an_answer_that_is_used_is_not() {
        assert!(lines("fn f() -> bool {\n    matches!(x, Some(_))\n}\n").is_empty());
        assert!(lines("assert!(matches!(x, Some(_)));").is_empty());
        assert!(lines("let a = matches!(x, B);").is_empty());
        assert!(lines("a(); // matches!(x, y);\n").is_empty());
    }
}
