//! Backline's terms as types. Pure: no I/O and no other crate of the workspace. Only [`clock`] reads the time.
//!
//! Everything that the stages pass to each other is defined here, so that no stage needs to know another.
//!
//! ```
//! use backline_model::{AccountId, ArtistId, OriginPattern, Platform};
//!
//! // An account's id follows from what it names, so that importing a file twice changes nothing.
//! let artist = ArtistId::generate();
//! let youtube = Platform::new("youtube")?;
//! assert_eq!(AccountId::of(artist, &youtube, "UCx"), AccountId::of(artist, &youtube, "UCx"));
//!
//! // Origins are parsed, never compared as text.
//! let below: OriginPattern = "https://*.example.com".parse()?;
//! assert!("https://api.example.com".parse::<OriginPattern>()?.is_within(&below));
//! assert!(!"https://api.example.com.evil.test".parse::<OriginPattern>()?.is_within(&below));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod clock;
mod connector;
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
pub mod ids;
pub mod kill_points;
mod named;
pub mod nearest;
mod numbers;
mod people;
pub mod remedies;
mod service;
pub mod text;
pub mod weakened;
mod work;

pub use connector::{account_rule, allowance, fetch, grant, manifest, origin, pace, release};
pub use numbers::{growth, history, merge, metric, row, snapshot, wording};
pub use people::{account, cell, privacy, reconnect, retention, roster};
pub use service::{access, alerting, audit, digest, event, health, webhook};
pub use work::{bulk, fair_share, outcome, run, schedule, tally, zone};

pub use access::{ApiToken, Role, TokenState};
pub use account::{Account, AccountStatus, Artist, Candidate, Consent, SubscriptionStatus};
pub use alerting::{
    AlertChannel, AlertMessage, AlertPhase, AlertRoute, AlertSeverity, AlertState, ChannelTarget, MailTarget,
    QuietHours,
};
pub use allowance::Holder;
pub use clock::Clock;
pub use digest::{AlertDigest, DigestDays, MissingNumbers};
pub use event::{Event, RowEvent, RowFact};
pub use fair_share::{StrideQueue, Weights};
pub use fetch::{
    DocumentInput, FetchAccount, FetchContext, FetchError, Fetched, FetchedBatch, LostMetric, PastDocument,
};
pub use grant::{Difference, Grant, Permissions};
pub use growth::{GrowthChange, GrowthRow, NoChange};
pub use history::History;
pub use ids::{
    AccountId, ArtistId, BatchId, ChannelId, CredentialId, Digest, DocumentId, InstallationId, Platform, RunId, Tenant,
    TokenId, WebhookId,
};
pub use manifest::Manifest;
pub use metric::{Absence, Kind, MetricName, Value};
pub use origin::{Origin, OriginPattern};
pub use outcome::{FailureClass, Outcome};
pub use reconnect::ReconnectUrl;
pub use release::{Release, ReleaseState, SwapCause};
pub use roster::Provenance;
pub use row::{Finding, MetricsRow, Quarantined, Severity};
pub use run::{Batch, BatchAccount, BatchState, Lease, Run, RunStatus};
pub use schedule::{CatchUp, Fire, FireDecision, Overlap, Schedule, ScheduleOrigin, ScheduleSpec};
pub use snapshot::{Coverage, Engagement, EngagementBasis, Snapshot, Window};
pub use tally::Tally;
pub use webhook::{Delivery, DeliveryState, Webhook, WebhookKind};
pub use zone::{Zone, ZoneData};
