//! Component files: made, and read, without running any of their code.

mod inspect;
mod pack;

pub use inspect::{InspectError, Inspection, inspect};
pub use pack::{PackError, pack};
