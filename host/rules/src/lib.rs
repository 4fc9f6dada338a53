//! The pure stages of Backline: what is due, who is collected, and what the numbers are worth. Nothing here does I/O or
//! reads a clock; the current time is an argument.
//!
//! The modules are listed in the order in which data passes through them.
//!
//! ```
//! use backline_model::ScheduleSpec;
//! use backline_rules::schedule::Timetable;
//!
//! // The default schedule: every night at 02:00 UTC.
//! let nightly = Timetable::of(&ScheduleSpec::default())?;
//! let noon = "2026-11-22T12:00:00Z".parse()?;
//! assert_eq!(nightly.next_after(noon), Some("2026-11-23T02:00:00Z".parse()?));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub use backline_model::nearest;

pub mod lists;
pub mod plan;
pub mod roster;
pub mod schedule;

pub mod conform;
pub mod dates;
pub mod growth;
pub mod validate;

pub mod alerting;
pub mod archive;
pub mod delivery;
pub mod digest;
pub mod health;

pub mod rollback_analysis;
pub mod shadow;
