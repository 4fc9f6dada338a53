//! What operators and other programs see of the service: tokens, audits, alerts, events, health.

pub mod access;
pub mod alerting;
pub mod audit;
pub mod event;
pub mod health;
pub mod webhook;
