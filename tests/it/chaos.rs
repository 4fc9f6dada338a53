//! Hosts and commands that are killed while they work: nothing is lost, nothing is stored twice, nobody innocent fails,
//! and a host that starts again is ready.
//!
//! What happens when is drawn from a seed, which `cargo xtask test --suite chaos --seed N` sets. A test that fails
//! names it.

mod commands;
mod database;
mod kills;
mod world;
