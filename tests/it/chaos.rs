//! Hosts and commands that are killed while they work, and whose database, clock and rows go wrong: nothing is lost,
//! nothing is stored twice, nobody innocent fails, and the service is ready again without a restart. docs/chaos.md
//! lists the faults.
//!
//! What happens when is drawn from a seed, which `cargo xtask test --suite chaos --seed N` sets. A test that fails
//! names it, and the run ends with what was played.

mod clocks;
mod commands;
mod database;
mod day;
mod disk;
mod file;
mod hostile;
#[cfg(feature = "weakened")]
mod killed;
mod kills;
mod played;
mod points;
#[cfg(feature = "weakened")]
mod remedies;
mod streams;
mod world;
