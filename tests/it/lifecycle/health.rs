//! Tests of health after real runs: scenarios, alerts and Prometheus metrics.

mod alerts;
mod commands;
mod figures;
mod scenarios;
