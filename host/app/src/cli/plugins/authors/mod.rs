//! Commands for authors of connectors: they make, check, try, pack, sign and publish components.

pub(super) mod check;
pub(super) mod conformance;
pub(super) mod dev;
pub(super) mod index;
pub(super) mod new;
mod project;
pub(super) mod publish;
pub(super) mod sign;
pub(super) mod trial;
pub(super) mod update;
