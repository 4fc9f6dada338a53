//! Cron patterns: what is accepted fires.
#![no_main]

use backline_model::ScheduleSpec;
use backline_rules::schedule::Timetable;
use chrono::DateTime;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let spec = ScheduleSpec { cron: text.to_owned(), ..ScheduleSpec::default() };
    let Ok(timetable) = Timetable::of(&spec) else { return };
    let after = DateTime::from_timestamp(1_795_000_000, 0).expect("a time");
    let next = timetable.next_after(after).expect("what is accepted fires");
    assert!(next > after);
});
