//! The pure stages: what is due, who is collected, and what the numbers are worth. No I/O happens here and no clock is asked; time is an argument.
//!
//! The modules stand in the order in which data passes through them.

pub mod plan;
pub mod roster;
pub mod schedule;

pub mod conform;
pub mod growth;
pub mod validate;

pub mod archive;
pub mod delivery;
pub mod health;

pub mod rollback_analysis;
pub mod shadow;
