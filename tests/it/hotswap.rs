//! The life of a release: installed, granted, activated, swapped while it collects, rolled back, removed.

mod canary;
mod guest;
mod hosts;
mod rollback;
mod shadow;
mod swapping;
