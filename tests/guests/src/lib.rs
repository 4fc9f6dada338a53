//! Ill-behaved connectors: see `examples/`, one per misdeed.
