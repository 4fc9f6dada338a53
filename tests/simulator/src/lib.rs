//! The five platforms, simulated.
