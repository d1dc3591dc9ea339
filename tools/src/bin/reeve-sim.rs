//! The simulator.

use std::process::ExitCode;

fn main() -> ExitCode {
    reeve_tools::sim::program::main()
}
