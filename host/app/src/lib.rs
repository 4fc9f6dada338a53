//! Backline collects artists' daily metrics through sandboxed connectors.
//!
//! This crate assembles the others: [`pipeline`] leads data through them; `api`, `cli` and the dashboard are its edges.
//! ARCHITECTURE.md has the map and the invariants.
//!
//! A host on a new database has nothing to collect with yet:
//!
//! ```
//! use backline::config::Config;
//! use backline::pipeline::collection::report::RunRequest;
//! use backline::pipeline::{Host, PlanError};
//! use backline_model::clock::Clock;
//! use backline_store::{Store, StoreOptions};
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let folder = tempfile::tempdir()?;
//! let mut config = Config::default();
//! config.database.url = format!("sqlite://{}", folder.path().join("backline.db").display());
//! // Opening a host never changes the schema.
//! Store::open(&config.database.url, StoreOptions::default()).await?.migrate().await?;
//!
//! let host = Host::open(config, Clock::system()).await?;
//! let planned = host.planner().plan(&RunRequest::default()).await;
//! assert!(matches!(planned, Err(PlanError::NothingInstalled)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod config;
pub mod telemetry;

pub mod pipeline;

pub mod api;
pub mod cli;
mod dashboard;
