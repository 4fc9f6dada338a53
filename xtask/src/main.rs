//! Developer tasks: `cargo xtask build | demo | test | bench | tidy | dist | sbom | reproduce`.
//!
//! Everything a newcomer or the CI runs goes through here. It depends on no other package of the workspace: what it
//! needs of the host it gets by running the `backline` binary, as an operator would.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what a developer task is for")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod build;
mod companions;
mod dates;
mod demo;
mod dist;
mod http;
mod postgresql;
mod process;
mod reproduce;
mod sbom;
mod simulator;
mod stage;
mod table;
mod test;
mod tidy;
mod tools;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, demonstrates, tests, measures and checks Backline")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the host, the connectors and the sandbox's test guests; what is up to date is not built again
    Build,
    /// Collect three days of 25 simulated artists, from an empty database to a table of growth
    Demo(demo::DemoArguments),
    /// Run the tests, on SQLite and PostgreSQL
    Test(test::TestArguments),
    /// Measure a release build beside a plain native program, and print what was reached
    Bench(bench::BenchArguments),
    /// Check formatting, lints, documentation, dependencies and the rules of ARCHITECTURE.md
    Tidy(tidy::TidyArguments),
    /// Make an archive and a Debian package of the release build, with sums and a signature
    Dist(dist::DistArguments),
    /// Write what the host and the connectors are made of, as CycloneDX
    Sbom(sbom::SbomArguments),
    /// Build the connectors from two clean clones, and compare their digests
    Reproduce,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Build => build::everything().map(|()| true),
        Task::Demo(arguments) => demo::demonstrate(&arguments),
        Task::Test(arguments) => test::test(&arguments),
        Task::Bench(arguments) => bench::bench(&arguments),
        Task::Tidy(arguments) => tidy::tidy(&arguments),
        Task::Dist(arguments) => dist::dist(&arguments),
        Task::Sbom(arguments) => sbom::sbom(&arguments),
        Task::Reproduce => reproduce::reproduce(),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
