//! Artists and their accounts, how lists of them are read, and what becomes of what is stored about them.

pub mod account;
pub mod cell;
pub mod privacy;
pub mod reconnect;
pub mod retention;
pub mod roster;
