//! Figures that are counted over many rows.

pub(crate) mod health;
pub(crate) mod lookup;
