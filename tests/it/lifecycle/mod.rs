//! What happens to numbers after they are stored: events and deliveries, health, archive, privacy, and who may read the tables.

mod health;
mod layout;
