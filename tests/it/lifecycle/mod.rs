//! What happens to numbers after they are stored: events and deliveries, health, archive, privacy, and who may read the tables.

mod archive;
mod commands;
mod deliveries;
mod export;
mod health;
mod hooks;
mod keys;
mod layout;
mod privacy;
mod reading;
mod rows;
mod schemas;
