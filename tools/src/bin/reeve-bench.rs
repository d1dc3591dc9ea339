//! The load generator.

use std::process::ExitCode;

fn main() -> ExitCode {
    reeve_tools::bench::program::main()
}
