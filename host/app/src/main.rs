//! The `backline` binary: hands its arguments to the command line and ends with its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    backline::cli::main()
}
