//! What happens to numbers after they are stored: events and deliveries, health, archive, privacy, and who may read the tables.

mod archive;
mod commands;
mod deliveries;
mod hooks;
mod layout;
mod schemas;
