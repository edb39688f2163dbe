//! The house rules, one file per check. Each check is a pure function from a [`Tree`] to findings.

mod code;
mod documents;
mod layering;
mod matches_statement;
mod naming;
mod paths;
mod reach;
mod report;
mod size;
mod table_of_contents;
mod tree;

pub(crate) use report::run;
