//! Backline beside what its users run it with: a subscriber of PostgreSQL's changes and reads as PostgREST sends them,
//! both as on Supabase, and n8n.
//!
//! Only with `cargo xtask test --suite neighbours --long`.

mod n8n;
mod pgoutput;
mod realtime;
