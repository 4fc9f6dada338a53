//! Writes to the connector's log, which the host stores.

pub use crate::bindings::backline::connector::log::Level;

/// Writes a line to the connector's log. In native tests, where there is no host, the line is dropped.
pub fn write(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::backline::connector::log::write(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    let _ = (level, message);
}
