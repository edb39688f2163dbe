//! The `tidemill` binary: the command line over the shipped topologies.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidemill::cli::shipped()
}
