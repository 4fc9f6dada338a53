//! What happens to numbers after they are stored: events and deliveries, health, archive, privacy, and who may read the tables.

mod commands;
mod deliveries;
mod health;
mod hooks;
mod layout;
mod schemas;
