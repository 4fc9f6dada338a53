//! The bindings of `backline:connector@1.0.0`, and the conversion of its types to and from the model's.

use chrono::{DateTime, Utc};

use super::state::CallState;
use backline_model::clock::LAST_TIME;
use backline_model::fetch::{DocumentInput, FetchAccount, FetchContext, FetchError, Fetched, FetchedBatch, LostMetric};
use backline_model::manifest::Method;
use backline_model::metric::{Absence, Value};
use backline_model::snapshot::{Coverage, Engagement, EngagementBasis, Reported, Snapshot, Window};
use backline_model::text::printable;
use backline_model::weakened::{Bound, off};

mod generated {
    #![allow(missing_docs, clippy::all, reason = "generated; the WIT file holds the documentation")]

    wasmtime::component::bindgen!({
        path: "../../wit/connector/1.0.0",
        world: "connector",
        // `log.write` and `http.send` only access the call's own state. Every export runs on the store's event loop,
        // even the synchronous `normalize`, so that the same code limits all three.
        exports: { default: async | store },
    });
}

pub(super) use generated::backline::connector::{http, log, types};
pub(super) use generated::{Connector as Bindings, ConnectorPre as BindingsPre};

/// Everything that this contract version gives to a component. A component that imports another name is refused.
pub(super) const IMPORTS: [&str; 3] =
    ["backline:connector/types@1.0.0", "backline:connector/http@1.0.0", "backline:connector/log@1.0.0"];

/// Contract version that this host links.
pub(super) const VERSION: &str = "1.0.0";

/// Longest text of an error or a name that is kept, in bytes; it is stored in a table and shown on a screen.
const TEXT_BYTES_MAX: usize = 2_000;

/// Shortens a text, and replaces characters that could disturb a terminal or a database. What a connector wrote is
/// searched for secrets before: of a text that was cut, or in which U+0000 was replaced, a secret would not be found.
pub(super) fn clip(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX && !off(Bound::Texts) {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push('…');
    }
    printable(&text)
}

impl CallState {
    /// The state itself, for the linker.
    pub(super) fn itself(&mut self) -> &mut Self {
        self
    }
}

pub(super) fn account_to_wit(account: FetchAccount) -> types::Account {
    types::Account {
        id: account.id.to_string(),
        platform_id: account.platform_id,
        settings: account.settings,
        state: account.state,
    }
}

fn window_to_wit(window: Window) -> types::Window {
    types::Window { since: window.since.timestamp(), until: window.until.timestamp() }
}

pub(super) fn context_to_wit(context: FetchContext) -> types::Context {
    types::Context { window: window_to_wit(context.window), lost_metrics: context.lost_metrics }
}

pub(super) fn document_to_wit(document: DocumentInput) -> types::Document {
    types::Document {
        body: document.body,
        window: window_to_wit(document.window),
        observed_at: document.observed_at.timestamp(),
    }
}

pub(super) fn request_from_wit(request: http::Request) -> backline_gateway::Request {
    backline_gateway::Request {
        method: match request.method {
            http::Method::Get => Method::Get,
            http::Method::Head => Method::Head,
            http::Method::Post => Method::Post,
            http::Method::Put => Method::Put,
            http::Method::Patch => Method::Patch,
            http::Method::Delete => Method::Delete,
        },
        url: request.url,
        headers: request.headers,
        body: request.body,
        credential: request
            .credential
            .map(|credential| backline_gateway::CredentialRef { slot: credential.slot, account: credential.account }),
    }
}

pub(super) fn response_to_wit(response: backline_gateway::Response) -> http::Response {
    http::Response { status: response.status, headers: response.headers, body: response.body }
}

pub(super) fn send_error_to_wit(error: backline_gateway::SendError) -> http::Error {
    match error {
        backline_gateway::SendError::Denied(why) => http::Error::Denied(why),
        backline_gateway::SendError::CredentialUnavailable(why) => http::Error::CredentialUnavailable(why),
        backline_gateway::SendError::RateLimited(seconds) => http::Error::RateLimited(seconds),
        backline_gateway::SendError::QuotaExhausted(until) => {
            http::Error::QuotaExhausted(until.map(|until| until.timestamp()))
        }
        backline_gateway::SendError::TimedOut => http::Error::TimedOut,
        backline_gateway::SendError::Unreachable(why) => http::Error::Unreachable(why),
        backline_gateway::SendError::TooLarge(limit) => http::Error::TooLarge(limit),
    }
}

pub(super) fn fetch_error_from_wit(error: types::FetchError) -> FetchError {
    match error {
        types::FetchError::NotFound => FetchError::NotFound,
        types::FetchError::Unauthorized(why) => FetchError::Unauthorized(why),
        types::FetchError::Reconnect(why) => FetchError::Reconnect(why),
        types::FetchError::Forbidden(why) => FetchError::Forbidden(why),
        types::FetchError::Misconfigured(why) => FetchError::Misconfigured(why),
        types::FetchError::RateLimited(seconds) => FetchError::RateLimited(seconds),
        // A time before 1970 or after 9999 is ignored: the host then finds the reset time in the manifest's budget.
        types::FetchError::QuotaExhausted(until) => FetchError::QuotaExhausted(until.and_then(time_from_wit)),
        types::FetchError::Unavailable(why) => FetchError::Unavailable(why),
        types::FetchError::Unexpected(why) => FetchError::Unexpected(why),
    }
}

/// A time from a connector; `None` if it is a mistake, such as milliseconds for seconds.
fn time_from_wit(seconds: types::Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(seconds, 0).filter(|time| (DateTime::UNIX_EPOCH..=LAST_TIME).contains(time))
}

pub(super) fn batch_from_wit(batch: types::BatchResult) -> FetchedBatch {
    FetchedBatch {
        accounts: batch
            .accounts
            .into_iter()
            .map(|account| {
                account
                    .map(|fetched| Fetched { body: fetched.body, state: fetched.state })
                    .map_err(fetch_error_from_wit)
            })
            .collect(),
        lost_metrics: batch
            .lost_metrics
            .into_iter()
            .map(|lost| LostMetric { name: lost.name, reason: lost.reason })
            .collect(),
    }
}

pub(super) fn snapshot_from_wit(snapshot: types::Snapshot) -> Snapshot {
    Snapshot {
        metrics: snapshot.metrics.into_iter().map(metric_from_wit).collect(),
        engagement: snapshot.engagement.map(|engagement| Engagement {
            interactions: engagement.interactions,
            base: engagement.base,
            basis: match engagement.basis {
                types::EngagementBasis::Followers => EngagementBasis::Followers,
                types::EngagementBasis::Views => EngagementBasis::Views,
                types::EngagementBasis::Reach => EngagementBasis::Reach,
            },
            posts_counted: engagement.posts_counted,
            posts_skipped: engagement.posts_skipped,
        }),
        notes: snapshot.notes,
    }
}

fn metric_from_wit(metric: types::Metric) -> Reported {
    Reported {
        name: metric.name,
        value: match metric.value {
            Ok(types::Value::Integer(integer)) => Ok(Value::Integer(integer)),
            Ok(types::Value::Decimal(decimal)) => Ok(Value::Decimal(decimal)),
            Ok(types::Value::Text(text)) => Ok(Value::Text(text)),
            Ok(types::Value::Texts(texts)) => Ok(Value::Texts(texts)),
            Err(types::Absence::NotOffered) => Err(Absence::NotOffered),
            Err(types::Absence::Hidden) => Err(Absence::Hidden),
            Err(types::Absence::NotAuthorized) => Err(Absence::NotAuthorized),
            Err(types::Absence::NotFound) => Err(Absence::NotFound),
            Err(types::Absence::Unavailable) => Err(Absence::Unavailable),
        },
        coverage: metric.coverage.map(|coverage| Coverage { counted: coverage.counted, skipped: coverage.skipped }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connectors_text_is_cut_and_can_steer_neither_terminal_nor_database() {
        assert_eq!(clip("a\u{1b}[2J\u{0}b\u{202e}c\nd".to_owned()), "a\u{fffd}[2J\u{fffd}b\u{fffd}c\nd");
        assert_eq!(clip("ü".repeat(2_000)).chars().count(), 1_001);
    }
}
