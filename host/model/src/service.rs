//! What operators and other programs see of the service: tokens, audits, alerts, digests, events, health.

pub mod access;
pub mod alerting;
pub mod audit;
pub mod digest;
pub mod event;
pub mod health;
pub mod webhook;
