//! The life of a release: installed, granted, activated, swapped while it collects, rolled back, removed.

mod hosts;
mod swapping;
