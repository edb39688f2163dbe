//! The repository's own tool: checks that no compiler makes. Standard library only, so that it
//! builds in a second; it never depends on the product.
//!
//! Start at [`tidy`].

mod tidy;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask tidy [--bless]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["tidy"] => tidy::run(false),
        ["tidy", "--bless"] => tidy::run(true),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}
