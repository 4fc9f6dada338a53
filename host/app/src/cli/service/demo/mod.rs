//! `backline demo`: what it takes. What it does is in `showing`, which a build without the feature `demo` lacks.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::cli::context::Global;
use crate::cli::terminal::exit::CommandResult;

#[cfg(feature = "demo")]
mod showing;

/// Arguments of `backline demo`. A build without the demo takes them too, and refuses.
#[derive(Args)]
pub(in crate::cli) struct DemoArguments {
    /// Folder for the demo's database, configuration and key; it must be new, empty or a demo's
    #[arg(long, value_name = "FOLDER", default_value = "backline-demo")]
    folder: PathBuf,
    /// Begin again: remove what an earlier demo left in the folder
    #[arg(long)]
    fresh: bool,
    /// How many artists to simulate; 25 unless given
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    artists: Option<u32>,
    /// How many days of history to collect, today included; 28 unless given
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=90))]
    days: Option<u32>,
    /// Folder with the components of the first-party connectors; where a build or a package puts them unless given
    #[arg(long, value_name = "FOLDER")]
    connectors: Option<PathBuf>,
    /// Address of dashboard and API, on this machine alone; 127.0.0.1:8321 unless given, or a free port if it is taken
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

/// Shows a demo until a signal stops it.
#[cfg(feature = "demo")]
pub(in crate::cli) fn run(global: &Global, arguments: &DemoArguments) -> CommandResult {
    global.expect_no_configuration("backline demo")?;
    crate::cli::in_runtime(showing::run(global, arguments))
}

/// Says that there is none.
#[cfg(not(feature = "demo"))]
pub(in crate::cli) fn run(_: &Global, _: &DemoArguments) -> CommandResult {
    use crate::cli::terminal::exit::Failure;

    Err(Failure::usage("this binary was built without simulated platforms; build it with the feature `demo`"))
}
