//! The life of a release: installed, granted, activated, swapped while it collects, rolled back, removed.

mod canary;
mod downloads;
mod grants;
mod guest;
mod hosts;
mod registry;
mod rollback;
mod shadow;
mod signatures;
mod swapping;
mod watching;
