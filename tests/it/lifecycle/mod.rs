//! What happens to numbers after they are stored: events and deliveries, health, archive, privacy, and who may read the tables.

mod export;
mod keys;
mod layout;
mod privacy;
mod rows;
