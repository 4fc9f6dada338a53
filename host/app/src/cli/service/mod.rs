//! Commands about the hosts and what they run with: the service itself, its health, database and configuration.

pub(super) mod check;
pub(super) mod demo;
pub(super) mod health;
pub(super) mod hosts;
pub(super) mod installation;
pub(super) mod ready;
pub(super) mod serve;
pub(super) mod settings;
