//! A user's own binary in small: one topology, with the whole command line of Tidemill.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidemill::main(tidemill::topologies::ledger::topology())
}
