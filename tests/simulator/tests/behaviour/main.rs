//! Tests of the simulator over real sockets, with a client that shows every byte.

#![allow(unreachable_pub, reason = "nothing outside a test binary reaches into it")]
#![expect(
    clippy::unwrap_used,
    reason = "in a test a panic is the report; the lint spares test functions only, not their helpers"
)]

mod client;
mod faults;
mod optional;
mod platforms;
mod tokens;
mod truth;
