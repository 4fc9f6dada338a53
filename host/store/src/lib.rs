//! Everything Backline remembers, in a SQLite file or on a PostgreSQL server. No other crate speaks SQL.
//!
//! ```
//! use backline_model::{Artist, ArtistId, SubscriptionStatus, Tenant};
//! use backline_store::{ArtistFilter, Scope, Store, StoreOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("backline.db");
//! let store = Store::open(&path.to_string_lossy(), StoreOptions::default()).await?;
//! store.migrate().await?;
//!
//! let tenant = Tenant::new("label")?;
//! let ada = Artist {
//!     id: ArtistId::generate(),
//!     name: "Ada".to_owned(),
//!     tenant: tenant.clone(),
//!     subscription_status: SubscriptionStatus::Active,
//!     data_collection_enabled: true,
//!     timezone: "Europe/Berlin".parse()?,
//! };
//! // Time is an argument everywhere: take it from a `Clock`.
//! let now = "2026-11-22T12:00:00Z".parse()?;
//! store.artists_save(&Scope::all_tenants(), &[ada], now).await?;
//!
//! let filter = ArtistFilter::default();
//! assert_eq!(store.artists_list(&Scope::tenant(tenant), &filter).await?.len(), 1);
//! assert!(store.artists_list(&Scope::tenant(Tenant::new("other")?), &filter).await?.is_empty());
//! store.close().await;
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! There is one implementation and one text per statement; `database/dialect.rs` holds every difference between the
//! databases. What must be true together is written in one transaction, above all the [`Completion`] of a batch.
//!
//! # Names
//!
//! A method that touches rows is named by its noun first, then the verb. Where the verb alone would not say enough, the
//! noun is qualified: `expiring_credentials_list`, `credential_set_refresh_at`.
//!
//! | name | returns |
//! |---|---|
//! | `X_get`, `X_get_by_…` | one row or value by its key: an option, or an error where it must exist |
//! | `Xs_list` | rows by filter or page, in a documented order |
//! | `Xs_of` | the rows of the artists, accounts or platforms given |
//! | `X_count` | numbers of rows |
//! | `X_is_…` | yes or no |
//! | `X_save` | inserts or replaces; saving the same again changes nothing |
//! | `X_begin` | a guard over an open transaction; dropping it undoes everything |
//! | `…_in_txn` | inside this crate: takes the transaction of its caller and does not commit |
//!
//! # Scopes
//!
//! Every method that touches a tenant's rows takes a [`Scope`] as its first argument, and its statements are limited to
//! it: rows of another tenant are not found, as if they did not exist. Rows that belong to no tenant (the operator's
//! credentials, webhooks and events without a tenant) are outside of one tenant's scope.
//!
//! Methods that work on the rows of all tenants at once refuse one tenant's scope with [`StoreError::OutOfScope`]:
//! `archive_due_count`, `archive_due_put_away`, `archive_month_put_away`, `health_figures_get`, `identifiers_search`,
//! `open_bulk_acts_list`, `release_recollect`, `release_roll_back`, `run_finish`, `sealed_count`, `sealed_list`,
//! `sealed_replace`, `unfinished_runs_list`, and those of channels, routes, digests and messages of alerts to people.
//!
//! **By a lease or role.** These take no scope: a lease, role or guard among their arguments proves their right. A
//! method that hands out a lease takes a scope.
//!
//! - a [`Lease`](backline_model::Lease): `batch_complete`, `batch_halve`, `batch_release`, `lease_renew`,
//!   `lone_batch_begin`, and `completion_begin` with the [`Completion`] that it begins
//! - a [`PlanGuard`]: `plan_begin` with the [`Planning`] it begins
//! - a [`DeliveryLease`]: `delivery_finish`, `delivery_retry`
//! - an [`AlertLease`]: `alert_events_list`, `alert_finish`, `alert_retry`, `alert_mark_sending`
//! - the [`Term`] of the role of bulk acts: `bulk_act_advance`, `bulk_act_finish`
//! - the owner of a [`RefreshLease`]: `credential_mark_dead`, `refresh_release`
//! - guards that were begun in a scope: [`Export`], [`QuarantineRelease`]
//! - a token's id, whose secret the caller has yet to prove: `token_get`, `token_use`
//! - a token's id, whose secret the caller has proved: `kept_answer_get`, `session_open`
//! - a session's id, whose secret the caller has yet to prove, or has proved: `session_get`, `session_close`,
//!   `session_set_notice`
//!
//! **Without a tenant's rows.** These take no scope:
//!
//! - releases, grants, canaries, tallies, compiled code, lost metrics, platforms, and what happened to a connector
//!   (`connector_timeline_list`)
//! - how many tokens are in force (`active_tokens_count`), the number of the latest event (`event_watermark_get`),
//!   answers that are old enough to go (`kept_answers_remove`), alerts that are (`alert_messages_remove`), sessions
//!   that are over (`sessions_remove`), and bulk acts that ended long ago (`bulk_acts_remove`)
//! - schedules and their times, roles ([`Term`]), hosts, archive runs, alerts
//! - the installation's id, budgets, paces and pauses, and the operator's credentials that are dead
//!   (`dead_credentials_list`)
//! - tombstones of erased artists (`erasure_get`, `erasure_lift`, `erased_artists_of`, `candidates_drop_erased`): a
//!   tombstone holds a hash and counts, so whose artist it was is not known any more
//! - the schema: migrations, months (`months_ensure`, `months_drop_empty`, `archive_months_list`, `archive_prepare`),
//!   `hidden_tables_list`, `server_time_get`, whose a file is (`file_owner_get`), and the rewriting of a SQLite file
//!   after an erasure (`traces_remove`)

mod access;
mod alerts;
mod artists;
mod credentials;
mod database;
mod events;
mod numbers;
mod releases;
mod reports;
mod scope;
mod work;

pub use access::answers::{KeptAnswer, KeyedRequest, answering_once};
pub use access::audit::AuditFilter;
pub use access::sessions::StoredSession;
pub use alerts::digests::{NewDigestMessage, digest_not_found};
pub use alerts::messages::{AlertFilter, TestAlert};
pub use alerts::routes::NewAlert;
pub use alerts::sending::{AlertLease, DueAlert};
pub use artists::accounts::{AccountFilter, AccountPlace, ArtistFilter, Saved, UnreadableArtist};
pub use artists::consents::{COLLECTING_SCOPE, RecordedConsents};
pub use artists::export::{Export, ExportedRow, exported};
pub use artists::privacy::{Erased, Sighting};
pub use artists::removal::RemovedAccount;
pub use artists::source_table::{ForeignRow, ForeignSource, is_own_table};
pub use credentials::refreshes::{Expiring, RefreshLease};
pub use credentials::reseal::{Keyed, SEALED, Sealed, SealedPlace};
pub use credentials::sealed::{CredentialFilter, CredentialPlace, CredentialSlot, SealedCredential};
pub use database::connection::{Store, StoreOptions};
pub use database::dialect::DatabaseKind;
pub use database::error::{StoreError, is_there};
pub use database::limits::StoreLimits;
pub use database::migrate::MigrationReport;
pub use database::notifications::Listener;
pub use database::owner::FileOwner;
pub use database::place::url_check;
pub use database::topic::Topic;
pub use events::cursor::EventCursor;
pub use events::deliveries::{Backlog, DeliveryFilter, DeliveryLease, EventHead, Finish, NewDelivery};
pub use events::webhooks::SealedWebhookSecrets;
pub use numbers::archive::{ArchivePlace, ArchivedPart};
pub use numbers::archive_runs::{ArchiveRun, ArchiveRunFilter};
pub use numbers::document_body::DocumentBody;
pub use numbers::history::AccountHistory;
pub use numbers::metrics::MetricsFilter;
pub use numbers::quarantine::{QuarantineFilter, QuarantineRelease};
pub use releases::canaries::{Canary, LastDocument, Recollection, Rollback};
pub use releases::grants::NarrowedGrants;
pub use releases::installed::{InUse, LoadReport};
pub use releases::swaps::Swap;
pub use reports::health::HealthWindow;
pub use reports::lookup::{FoundId, IdKind};
pub use reports::timeline::{PlacedEntry, TimelineCursor, TimelineEntry, TimelineFilter};
pub use scope::Scope;
pub use work::activations::Activation;
pub use work::batch_start::BatchStart;
pub use work::batches::{BatchAccountView, BatchFilter, BatchView, Retried};
pub use work::budgets::BudgetKey;
pub use work::bulk::{BulkActFilter, BulkStep};
pub use work::completion::Completion;
pub use work::hosts::{KnownHost, Presence};
pub use work::leaders::Term;
pub use work::ledger::RunFilter;
pub use work::logs::{PluginLogFilter, PluginLogLine};
pub use work::outcomes::{AccountOutcome, NamedOutcome, PlatformOutcome};
pub use work::pauses::{EndedPause, HeldPause, Pause, PlatformPause};
pub use work::planning::{PlanGuard, Planning};
pub use work::result::{AccountResult, BatchResult, BatchWrite, Completed, DocumentRecord, PluginLog, StoredAccount};
pub use work::run_state::{OpenAccounts, OpenBatches, RunDetails, RunState};
pub use work::schedules::NewSchedule;
pub use work::set_back::{Furthest, SetBack};
pub use work::uncollected::CancelledBatches;
pub use work::unreadable::UnreadableBatches;
