//! A PostgreSQL of our own: installed where that is possible, started for one task, removed with it.

use anyhow::{Result, bail};

use crate::process::{self, say};
use crate::tools;

#[path = "../../tests/it/support/postgres.rs"]
#[expect(unreachable_pub, dead_code, reason = "the integration tests share this file and use all of it")]
mod cluster;

pub(crate) use cluster::Cluster;

/// Starts a cluster of our own, after installing PostgreSQL where that is possible.
///
/// # Errors
/// When it is missing and can't be installed, or does not start.
pub(crate) fn start(settings: &[&str]) -> Result<Cluster> {
    if !has_postgres() {
        install_postgres()?;
    }
    say("starting a PostgreSQL cluster for this run");
    Cluster::start(settings).map_err(|problem| anyhow::anyhow!("PostgreSQL: {problem}"))
}

fn has_postgres() -> bool {
    let debian = std::fs::read_dir("/usr/lib/postgresql")
        .is_ok_and(|versions| versions.flatten().any(|version| version.path().join("bin/initdb").is_file()));
    debian || (process::is_installed("initdb") && process::is_installed("pg_ctl"))
}

fn install_postgres() -> Result<()> {
    let advice = "install them (Debian, Ubuntu: `apt-get install postgresql`; Fedora: `dnf install postgresql-server`; \
        macOS: `brew install postgresql`), or set DATABASE_URL to a PostgreSQL whose user may create databases";
    if !tools::install_packages("PostgreSQL's server programs are", &["postgresql"])? {
        bail!("PostgreSQL's server programs (initdb, pg_ctl) are missing: {advice}");
    }
    if has_postgres() { Ok(()) } else { bail!("PostgreSQL's server programs are still missing: {advice}") }
}
