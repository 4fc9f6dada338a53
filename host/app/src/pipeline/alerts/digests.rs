//! Digests as an operator manages them, how they begin, and what they tell. Everything is read in the scope of the
//! digest's tenant.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::manage::{AlertError, Alerts, TestedAlert, check_name};
use super::sending::SIMULATED;
use crate::pipeline::artists::attention::{AttentionFilter, accounts_that_need_someone};
use crate::pipeline::credentials::installation::is_simulated;
use crate::pipeline::names;
use crate::pipeline::watchdog::{Things, Undone};
use backline_model::{AlertChannel, AlertDigest, AlertMessage, DigestDays, QuietHours, Tenant, Zone};
use backline_rules::alerting::end_of_quiet;
use backline_rules::digest::{self, DigestDue, DigestText, Facts, Moved, Movers, Needy, Period, SHOWN_MAX};
use backline_store::{AlertFilter, ArtistFilter, MetricsFilter, NewDigestMessage, Scope, StoreError, digest_not_found};

/// Rows of growth that are read at once.
const PAGE: u32 = 1_000;

/// Longest time in which a digest is made, so that its message is sent while its lease lasts.
const MADE_WITHIN: Duration = Duration::from_secs(20);

/// A digest to add.
#[derive(Clone, Debug)]
pub struct NewDigest {
    /// Name of the digest.
    pub name: String,
    /// Name of the channel.
    pub channel: String,
    /// Tenant whose numbers it tells.
    pub tenant: Tenant,
    /// On which days it is sent.
    pub every: DigestDays,
    /// At which hour of the day.
    pub hour: u32,
    /// Zone of the hour, the days and the quiet hours.
    pub timezone: Zone,
    /// Hours in which it is not sent, such as `22:00-07:00`.
    pub quiet: Option<String>,
}

/// A digest as it would be sent now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DigestPreview {
    /// The subject of the mail, or the first line.
    pub subject: String,
    /// The text.
    pub text: String,
    /// The page of the mail.
    pub html: String,
}

impl From<DigestText> for DigestPreview {
    fn from(written: DigestText) -> Self {
        Self { text: written.text.whole(), subject: written.text.title, html: written.html }
    }
}

impl Alerts {
    /// Adds a digest, which is due at its next time.
    ///
    /// # Errors
    /// When an argument is not valid, the name is taken, or no artist belongs to the tenant.
    pub async fn add_digest(&self, new: NewDigest) -> Result<AlertDigest, AlertError> {
        let NewDigest { name, channel, tenant, every, hour, timezone, quiet } = new;
        check_name(&name)?;
        names::expect_tenant(&self.store, &tenant).await?;
        let known = self.channels().await?;
        if let Some(known) = known.iter().find(|known| known.name == channel) {
            digest::check_channel(&known.target).map_err(AlertError::Invalid)?;
        }
        let quiet = quiet.as_deref().map(|text| quiet_hours(text, &timezone)).transpose()?;
        let (id, now) = (Uuid::now_v7(), self.clock.now());
        let mut digest =
            AlertDigest { id, name, channel, tenant, every, hour, timezone, quiet, next_at: now, created_at: now };
        digest::check(&digest).map_err(AlertError::Invalid)?;
        digest.next_at = digest::next_after(&digest, now);
        let added = self.store.alert_digest_add(&Scope::all_tenants(), &digest).await;
        names::or_nearest(added, &digest.channel, self.channel_names()).await?;
        Ok(digest)
    }

    /// The channels that take a digest.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn digest_channels(&self) -> Result<Vec<AlertChannel>, AlertError> {
        let mut channels = self.channels().await?;
        channels.retain(|channel| digest::check_channel(&channel.target).is_ok());
        Ok(channels)
    }

    /// Every digest.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn digests(&self) -> Result<Vec<AlertDigest>, AlertError> {
        Ok(self.store.alert_digests_list(&Scope::all_tenants()).await?)
    }

    /// One digest by its name.
    async fn digest(&self, name: &str) -> Result<AlertDigest, StoreError> {
        let digests = self.store.alert_digests_list(&Scope::all_tenants()).await?;
        if let Some(digest) = digests.iter().find(|digest| digest.name == name) {
            return Ok(digest.clone());
        }
        // The list leaves out what can't be read, and notes it.
        let mut left_out = self.store.unreadable_rows().into_iter();
        let unread = left_out.find(|row| row.table == "alert_digests" && row.name == name);
        let known = digests.iter().map(|digest| digest.name.as_str());
        Err(unread.map_or_else(
            || names::with_nearest(digest_not_found(name), name, known),
            |row| StoreError::Unreadable { column: row.column, problem: row.problem },
        ))
    }

    /// Removes a digest, and what is not sent of it.
    ///
    /// # Errors
    /// When there is none of the name.
    pub async fn remove_digest(&self, name: &str) -> Result<(), StoreError> {
        let all = Scope::all_tenants();
        let known = async {
            let digests = self.store.alert_digests_list(&all).await?;
            Ok::<Vec<String>, StoreError>(digests.into_iter().map(|digest| digest.name).collect())
        };
        names::or_nearest(self.store.alert_digest_remove(&all, name).await, name, known).await
    }

    /// A digest as it would be sent now. Nothing is sent.
    ///
    /// # Errors
    /// When there is none of the name, or the database fails.
    pub async fn preview_digest(&self, name: &str) -> Result<DigestPreview, StoreError> {
        let digest = self.digest(name).await?;
        Ok(self.written(&digest, self.clock.now()).await?.into())
    }

    /// Begins a digest now, out of turn. The host that tells people sends it; the digest of the day comes all the same.
    ///
    /// # Errors
    /// When there is none of the name, or the database fails.
    pub async fn queue_digest(&self, name: &str) -> Result<AlertMessage, StoreError> {
        let digest = self.digest(name).await?;
        let now = self.clock.now();
        let message = NewDigestMessage {
            id: Uuid::now_v7(),
            day: digest.timezone.date_at(now),
            subject: subject(&digest),
            is_test: true,
            due_at: now,
        };
        let all = Scope::all_tenants();
        self.store.alert_digest_message_add(&all, digest.id, &message).await?;
        let filter = AlertFilter { id: Some(message.id), ..AlertFilter::default() };
        let queued = self.store.alert_messages_list(&all, &filter).await?.pop();
        // It was removed meanwhile.
        queued.ok_or_else(|| digest_not_found(name))
    }

    /// The same, and sends it. Returns how it ended, with its words; it may be waiting still.
    ///
    /// # Errors
    /// When there is none of the name, or the database fails.
    pub async fn send_digest(&self, name: &str) -> Result<TestedAlert, AlertError> {
        let text = self.preview_digest(name).await?.text;
        let (digest, message) = (self.digest(name).await?, self.queue_digest(name).await?);
        let channels = self.channels().await?;
        let Some(channel) = channels.iter().find(|channel| channel.name == digest.channel) else {
            return Err(AlertError::Invalid(format!("the channel {} can't be read", digest.channel)));
        };
        let message = self.sent_now(channel, message.id).await?;
        Ok(TestedAlert { message, text })
    }

    /// Begins the messages of the digests that are due. Returns whether there was one.
    pub(super) async fn begin_digests(&self, now: DateTime<Utc>) -> Result<bool, Undone<StoreError>> {
        let (all, mut begun, mut moves) = (Scope::all_tenants(), false, Things::default());
        for digest in self.store.alert_digests_list(&all).await? {
            let moved = match digest::due_now(&digest, now) {
                DigestDue::Waits => continue,
                DigestDue::Moves(next_at) => {
                    self.store.alert_digest_move(&all, &digest, next_at, None).await.map(|_| false)
                }
                DigestDue::Due { day, next_at } => {
                    let quiet_until = digest.quiet.as_ref().and_then(|quiet| end_of_quiet(quiet, now));
                    let message = NewDigestMessage {
                        id: Uuid::now_v7(),
                        day,
                        subject: subject(&digest),
                        is_test: false,
                        due_at: quiet_until.unwrap_or(now),
                    };
                    self.store.alert_digest_move(&all, &digest, next_at, Some(&message)).await
                }
            };
            // One that is held up keeps no other one waiting.
            begun |= moves.note(digest.id, moved).unwrap_or(false);
        }
        moves.ended().map(|()| begun)
    }

    /// The words of a digest that tells of the time up to a moment.
    ///
    /// # Errors
    /// When the database fails, or takes too long.
    pub(super) async fn written(&self, digest: &AlertDigest, up_to: DateTime<Utc>) -> Result<DigestText, StoreError> {
        let made = tokio::time::timeout(MADE_WITHIN, self.made(digest, up_to)).await;
        let mut written =
            made.unwrap_or(Err(StoreError::NoAnswer { what: "make a digest", seconds: MADE_WITHIN.as_secs() }))?;
        if is_simulated(&self.store).await? {
            written.text.title.insert_str(0, SIMULATED);
            // What others wrote is escaped: the first one is the heading.
            written.html = written.html.replacen("<h1", "<p><strong>Simulated.</strong></p>\n<h1", 1);
        }
        Ok(written)
    }

    async fn made(&self, digest: &AlertDigest, up_to: DateTime<Utc>) -> Result<DigestText, StoreError> {
        let (scope, period) = (Scope::tenant(digest.tenant.clone()), digest::period(digest, up_to));
        let moved = self.moved(&scope, digest.every.span_days(), &period).await?;
        let missing = self.store.missing_numbers_list(&scope, period.after, period.up_to).await?;
        let filter = AttentionFilter { limit: Some(SHOWN_MAX + 1), ..AttentionFilter::default() };
        let reconnect = self.config.service.reconnect_url.as_ref();
        let found = accounts_that_need_someone(&self.store, &scope, reconnect, &filter).await?;
        let needy = found.into_iter().map(|one| Needy {
            artist_id: one.artist_id,
            artist: one.artist,
            platform: one.platform,
            problem: one.problem,
        });
        Ok(digest::written(&Facts {
            digest,
            day: digest.timezone.date_at(up_to),
            moved: &moved,
            missing: &missing,
            needy: &needy.collect::<Vec<_>>(),
            dashboard: self.config.service.dashboard(),
        }))
    }

    /// What moved, with names and values of what is named.
    async fn moved(&self, scope: &Scope, span: u16, period: &Period) -> Result<Moved, StoreError> {
        let mut movers = Movers::over(span);
        let mut filter = MetricsFilter {
            since: Some(period.since),
            until: Some(period.until),
            limit: Some(PAGE),
            ..MetricsFilter::default()
        };
        loop {
            let rows = self.store.growth_list(scope, &filter).await?;
            rows.iter().for_each(|row| movers.take(row));
            match rows.last() {
                Some(last) if rows.len() >= PAGE as usize => filter.after = Some((last.metric_date, last.account_id)),
                _ => break,
            }
        }
        let mut moved = movers.moved();
        for one in moved.named_mut() {
            one.artist = self.artist_name(scope, one.artist_id).await?;
            let of_date = MetricsFilter {
                account: Some(one.account_id),
                since: Some(one.date),
                until: Some(one.date),
                limit: Some(1),
                ..MetricsFilter::default()
            };
            let row = self.store.metrics_list(scope, &of_date).await?.pop();
            one.value = row.and_then(|mut row| row.values.remove(&one.metric));
        }
        Ok(moved)
    }

    /// Whether a tenant has no artist, so that nobody wants to be told of it.
    pub(super) async fn is_empty_tenant(&self, tenant: &Tenant) -> Result<bool, StoreError> {
        let filter = ArtistFilter { limit: Some(1), ..ArtistFilter::default() };
        Ok(self.store.artists_list(&Scope::tenant(tenant.clone()), &filter).await?.is_empty())
    }
}

/// What the messages of a digest are about.
fn subject(digest: &AlertDigest) -> String {
    format!("{}/{}", digest::KIND, digest.name)
}

fn quiet_hours(text: &str, zone: &Zone) -> Result<QuietHours, AlertError> {
    let (from, until) = QuietHours::span(text).ok_or_else(|| {
        AlertError::Invalid(format!("'{text}' is not a span of hours; write one such as 22:00-07:00"))
    })?;
    Ok(QuietHours { from, until, zone: zone.clone() })
}
