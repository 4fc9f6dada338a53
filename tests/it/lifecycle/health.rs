//! Health as it comes of real runs: scenario folders, alerts told once, and what Prometheus is shown.

mod alerts;
mod commands;
mod figures;
mod scenarios;
