//! The stages of Backline led together, by capability. A folder is one capability; the file of its type says what it
//! can do.
//!
//! plan → lease → credentials → fetch (sandbox ⇄ gateway) → normalize → conform → validate → growth → store.
//!
//! [`Host`] assembles the capabilities; `service` runs their loops and is imported by none of them.

mod access;
mod alerts;
mod artists;
mod bulk;
mod clocks;
pub mod collection;
mod conformance;
mod context;
mod credentials;
#[cfg(feature = "demo")]
pub mod demo;
mod error;
mod files;
mod host;
pub mod names;
mod numbers;
mod options;
mod releases;
mod retry;
pub mod service;
mod timelines;
mod upkeep;
mod watchdog;
mod webhooks;
pub(crate) mod words;

pub use self::access::audit::{AuditLog, Deed, user_of_process};
pub use self::access::sessions::{DashboardSession, Sessions};
pub use self::access::subjects::{ActSubjects, SUBJECTS_MAX, Subject};
pub(crate) use self::access::tokens::is_same;
pub use self::access::tokens::{ApiTokenError, Caller, NewToken, Tokens};
pub use self::alerts::digests::{DigestPreview, NewDigest};
pub use self::alerts::manage::{AlertError, Alerts, NewRoute, TestedAlert};
pub use self::alerts::sending::AlertReport;
pub use self::artists::attention::{Attention, AttentionFilter, accounts_that_need_someone, invalid_ids};
pub use self::artists::export::{ExportError, ExportReport, ExportedFile, identifiers_of_export};
pub use self::artists::privacy::{Erasure, Privacy, PrivacyError, record_consent, record_consents};
pub use self::artists::removal::{AccountRemoval, RemovalError, remove_account, remove_credential};
pub use self::artists::sync::{ArtistSync, SyncDifference, SyncError, SyncReport, SyncRequest};
pub use self::bulk::{Bulk, BulkCount, BulkError, NewBulkAct, bulk_act_details};
pub use self::collection::collect_error::CollectError;
pub(crate) use self::collection::pauses::believed as believed_pauses;
pub use self::collection::planning::{PlanError, Planner};
pub use self::collection::quarantine::{Quarantine, QuarantineError};
pub use self::collection::run::{CancelError, CancelReport, RunError, Runs};
pub use self::conformance::checks::{
    CheckFinding, CheckResult, CheckedWith, ConformanceReport, Sample, check_component,
};
pub use self::conformance::shadow::{CheckReport, Conformance, ShadowError, ShadowReport, ShadowRequest, TestReport};
pub use self::conformance::trial::{
    TrialCall, TrialError, TrialFailure, TrialLog, TrialMetric, TrialReport, TrialRequest, TrialRequestSent,
    replay_component, try_component,
};
pub use self::context::is_present;
pub use self::credentials::installation::{Installation, InstallationError, InstallationState, Stranger, is_simulated};
pub use self::credentials::manager::{CredentialError, CredentialManager};
pub use self::credentials::refresher::RefreshReport;
pub use self::credentials::rotate::{KeyUse, RotateError, RotationReport};
pub use self::credentials::set_credential::SetCredentialError;
pub use self::error::{Classified, ErrorClass, with_causes};
pub use self::host::{Host, OpenError};
pub use self::numbers::{NumbersError, NumbersKind, NumbersRequest, parquet_stream, write_parquet};
pub use self::options::store_options;
pub use self::releases::activate::{ActivateError, ActivateOptions, Activated};
pub use self::releases::auto_rollback::{ReleaseReview, RollbackError, RolledBack};
pub use self::releases::cache::ReleaseError;
pub use self::releases::canary::CanaryError;
pub use self::releases::index::{ReadIndex, ReadIndexError, read_index};
pub use self::releases::install::{
    Approve, CatalogueDifference, Ended, InstallError, InstallOptions, Installed, Proposal, ReleaseComparison, Revoke,
    RevokeError,
};
pub use self::releases::manager::{LookupError, ReleaseManager};
pub use self::releases::obtain::{ObtainError, ObtainOptions, Obtained, obtain};
pub use self::releases::publish::{PublishError, PublishRequest, Published, publish};
pub use self::service::preflight::{Examined, Obstacle, examine, examine_config};
pub use self::service::schedules::SchedulesError;
pub use self::timelines::connector_timeline;
pub use self::upkeep::archive::{Archive, ArchiveError, ArchiveProgress};
pub use self::upkeep::health::{HealthMonitor, TenantHealthReport};
pub use self::watchdog::{LoopState, LoopStatus};
pub use self::webhooks::deliveries::{DeliveryReport, Dispatcher};
pub use self::webhooks::manage::{NewWebhook, Resend, TestAnswer, WebhookError, Webhooks};
pub use self::webhooks::signing::SignError;
pub(crate) use backline_rules::dates::is_told;
pub(crate) use backline_rules::nearest;
pub(crate) use backline_rules::plan::{canary_share, exclusion};
// Filters and entries of lists, for the edges that show them.
pub use backline_store::{
    BulkActFilter, CredentialSlot, PlacedEntry, TimelineCursor, TimelineEntry, TimelineFilter, is_there,
};
