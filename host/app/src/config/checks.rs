//! Which values of a configuration are refused, in whichever layer they were set. Other modules check their own
//! sections.

use super::{CollectionConfig, Config, SecretsConfig};
use backline_model::ScheduleSpec;
use backline_model::fair_share::WEIGHT_MAX;
use backline_rules::schedule::{self, Timetable};

/// Most days a trailing window may cover: metrics of posts older than a year hardly change.
const WINDOW_DAYS_MAX: u16 = 366;

/// Most batches of one platform at the same time.
const CONCURRENCY_MAX: u16 = 256;

/// The least that the batches of a host must be able to hold, in bytes.
const HELD_BYTES_MIN: u64 = 16 << 20;

/// Longest of the other times, in milliseconds: 32 days, as long as the longest pause that is kept.
const TIME_MS_MAX: u64 = 32 * 86_400_000;

/// A key, and what is wrong with its value.
type Wrong = (&'static str, String);

impl Config {
    /// What is wrong: of each part the first value that is. Each with its key.
    pub(super) fn problems(&self) -> Vec<(String, String)> {
        let named = |(key, problem): Wrong| (key.to_owned(), problem);
        let checked = [
            self.collection.check().map_err(named),
            self.service.check().map_err(named),
            self.check_times().map_err(named),
            self.check_sync().map_err(named),
            self.database.check().map_err(named),
            self.secrets.check().map_err(named),
            self.rollback.check().map_err(named),
            self.health.check().map_err(named),
            self.check_schedules(),
            self.plugins.check(),
            self.check_archive(),
            self.deliveries.check(),
            self.costs.check(),
        ];
        checked.into_iter().filter_map(Result::err).collect()
    }

    /// Refuses a pause of none between two rounds.
    fn check_sync(&self) -> Result<(), Wrong> {
        if self.sync.every_s == Some(0) {
            return Err(("sync.every_s", "0 would sync without a pause; leave it out, or write 1 or more".to_owned()));
        }
        Ok(())
    }

    /// Refuses times that are longer than any that is waited for: added to the present they would be no time at all.
    fn check_times(&self) -> Result<(), Wrong> {
        let (collection, service) = (&self.collection, &self.service);
        for (key, value, most) in [
            ("collection.batch_deadline_ms", collection.batch_deadline_ms, TIME_MS_MAX),
            ("collection.retry_wait_max_ms", collection.retry_wait_max_ms, TIME_MS_MAX),
            ("collection.lease_ttl_ms", collection.lease_ttl_ms, TIME_MS_MAX),
            ("service.stop_deadline_ms", service.stop_deadline_ms, TIME_MS_MAX),
            ("service.leader_ttl_ms", service.leader_ttl_ms, TIME_MS_MAX),
            ("service.poll_ms", service.poll_ms, TIME_MS_MAX),
            ("service.stuck_after_ms", service.stuck_after_ms, TIME_MS_MAX),
            ("deliveries.backoff_max_ms", self.deliveries.backoff_max_ms, TIME_MS_MAX),
            ("health.every_s", self.health.every_s, TIME_MS_MAX / 1_000),
        ] {
            if value > most {
                return Err((key, format!("{value} is more than {most}, which is 32 days")));
            }
        }
        Ok(())
    }

    /// Refuses schedules that can't be parsed.
    fn check_schedules(&self) -> Result<(), (String, String)> {
        for (name, spec) in &self.schedules {
            schedule::check_name(name).map_err(|error| (format!("schedules.{name}"), error.to_string()))?;
            Timetable::of(spec).map_err(|error| (format!("schedules.{name}.cron"), error.to_string()))?;
        }
        Ok(())
    }

    /// Refuses rules and a schedule of the archive that are wrong.
    fn check_archive(&self) -> Result<(), (String, String)> {
        self.archive.check()?;
        let spec = ScheduleSpec { cron: self.archive.schedule.clone(), ..ScheduleSpec::default() };
        Timetable::of(&spec).map_err(|error| ("archive.schedule".to_owned(), error.to_string()))?;
        Ok(())
    }
}

impl CollectionConfig {
    /// Refuses values out of range.
    fn check(&self) -> Result<(), Wrong> {
        let Self {
            window_days,
            concurrency,
            concurrency_max,
            attempts_max,
            batch_deadline_ms,
            lease_ttl_ms,
            held_bytes_max,
            ref tenant_weights,
            ref platform_weights,
            ..
        } = *self;
        if !(1..=WINDOW_DAYS_MAX).contains(&window_days) {
            return Err(("collection.window_days", format!("{window_days} is not between 1 and {WINDOW_DAYS_MAX}")));
        }
        if !(1..=CONCURRENCY_MAX).contains(&concurrency) {
            return Err(("collection.concurrency", format!("{concurrency} is not between 1 and {CONCURRENCY_MAX}")));
        }
        if !(1..=CONCURRENCY_MAX).contains(&concurrency_max) {
            return Err((
                "collection.concurrency_max",
                format!("{concurrency_max} is not between 1 and {CONCURRENCY_MAX}"),
            ));
        }
        let weights =
            [("collection.tenant_weights", tenant_weights), ("collection.platform_weights", platform_weights)];
        for (key, weights) in weights {
            if let Some((name, weight)) = weights.wrong() {
                return Err((key, format!("{name} weighs {weight}, which is not between 1 and {WEIGHT_MAX}")));
            }
        }
        if attempts_max == 0 {
            return Err(("collection.attempts_max", "0 would never collect; write 1 or more".to_owned()));
        }
        if held_bytes_max < HELD_BYTES_MIN {
            let text = format!("{held_bytes_max} is under {HELD_BYTES_MIN}, what a single batch may need");
            return Err(("collection.held_bytes_max", text));
        }
        if batch_deadline_ms < 1000 {
            return Err((
                "collection.batch_deadline_ms",
                format!("{batch_deadline_ms} is under a second, too short for any platform; write 1000 or more"),
            ));
        }
        if lease_ttl_ms < 1000 {
            return Err((
                "collection.lease_ttl_ms",
                format!("{lease_ttl_ms} is under a second, too short to renew a lease in time; write 1000 or more"),
            ));
        }
        Ok(())
    }
}

impl SecretsConfig {
    /// Refuses two keys to encrypt with, and old ones without one.
    fn check(&self) -> Result<(), Wrong> {
        if self.key.is_some() && self.key_file.is_some() {
            return Err(("secrets.key", "secrets.key_file is set too; remove one of them".to_owned()));
        }
        let has_old = !self.old_keys.is_empty() || !self.old_key_files.is_empty();
        if has_old && self.key.is_none() && self.key_file.is_none() {
            let problem = "there are old keys and none to encrypt with; set secrets.key_file or secrets.key";
            return Err(("secrets.old_keys", problem.to_owned()));
        }
        Ok(())
    }
}
