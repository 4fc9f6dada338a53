//! Tests of a release's life cycle: install, grant, activate, swap during collection, roll back, remove.

mod canary;
mod downloads;
mod first_version;
mod grants;
mod guest;
mod hosts;
mod registry;
mod rollback;
mod shadow;
mod signatures;
mod swapping;
mod watching;
