//! Trying a release before it collects.

pub mod shadow;
