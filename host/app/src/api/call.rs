//! What a handler gets of a request: a [`Call`]. One is made of a caller, and a caller of a token alone. So no handler
//! can be written that does not know whose rows it may touch.

use axum::body::Bytes;
use futures::stream::BoxStream;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::answer::Page;
use super::cursor::List;
use super::follow::Streams;
use super::problem::Problem;
use super::query::{Given, Limit};
use crate::pipeline::{ActSubjects, AuditLog, Caller, Host, Subject};
use backline_model::{ApiToken, Tenant, nearest};
use backline_store::{EventCursor, Scope};

/// The header in which a client says which event it got last, by the HTML standard.
pub(super) const LAST_EVENT_ID: &str = "last-event-id";

/// A request that may be answered.
pub(super) struct Call {
    host: Host,
    caller: Caller,
    streams: Streams,
    received: Received,
}

/// What a request brings beside its parameters.
pub(super) struct Received {
    /// The list that it is about, for its cursors.
    pub(super) list: List,
    /// The variable parts of its path, by name.
    pub(super) path: Vec<(String, String)>,
    pub(super) body: Bytes,
    /// The header [`LAST_EVENT_ID`].
    pub(super) last_event_id: Option<String>,
    /// What it is about, of one that changes something.
    pub(super) subjects: ActSubjects,
}

impl Call {
    /// A request of a caller.
    pub(super) fn new(host: Host, caller: Caller, streams: Streams, received: Received) -> Self {
        Self { host, caller, streams, received }
    }

    /// The host that answers.
    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// The last event that may be read so that none can appear before it later.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn last_settled_event(&self) -> Result<EventCursor, Problem> {
        self.streams.last_settled(&self.host).await
    }

    /// The id of the last event that a client got from a stream before this one.
    ///
    /// # Errors
    /// When it is not the id of an event.
    pub(super) fn last_event_id(&self) -> Result<Option<EventCursor>, Problem> {
        let read = self.received.last_event_id.as_deref().map(EventCursor::given).transpose();
        read.map_err(|problem| Problem::wrong(format!("{LAST_EVENT_ID}: {problem}")))
    }

    /// Begins a stream of events.
    ///
    /// # Errors
    /// When the host has too many.
    pub(super) fn follow(self, scope: Scope, after: EventCursor) -> Result<BoxStream<'static, Vec<u8>>, Problem> {
        self.streams.begin(self.host, self.caller, scope, after)
    }

    /// The token of the caller.
    pub(super) fn token(&self) -> &ApiToken {
        self.caller.token()
    }

    /// Whose rows the caller may touch.
    pub(super) fn scope(&self) -> Scope {
        self.caller.scope()
    }

    /// The same, or one tenant of it.
    ///
    /// # Errors
    /// When the tenant is outside the scope; the answer is that of a tenant that does not exist.
    pub(super) async fn scope_of(&self, tenant: Option<Tenant>) -> Result<Scope, Problem> {
        let Some(tenant) = tenant else { return Ok(self.scope()) };
        let known = self.host.store().tenants_list(&self.scope()).await?;
        if known.contains(&tenant) {
            return Ok(Scope::tenant(tenant));
        }
        // Who sees one tenant alone knows its name.
        let is_told = self.scope().only().is_none();
        let remark = nearest::meant(tenant.as_str(), known.iter().map(Tenant::as_str).filter(|_| is_told));
        Err(Problem::not_found("tenant", format!("{tenant}{remark}")))
    }

    /// Names something that the request is about and its path does not name, before it is changed.
    pub(super) async fn about(&self, subject: Subject) {
        let log = AuditLog::new(self.host.store().clone(), self.host.clock().clone());
        log.about(&self.scope(), &self.received.subjects, subject).await;
    }

    /// Names something that the request has made.
    pub(super) fn made(&self, subject: Subject) {
        self.received.subjects.made(subject);
    }

    /// A part of the path.
    ///
    /// # Errors
    /// When it is not one of its type.
    pub(super) fn path<T: Given>(&self, name: &str) -> Result<T, Problem> {
        let text = self.received.path.iter().find(|(known, _)| known == name).map_or("", |(_, text)| text.as_str());
        T::given(text).map_err(Problem::wrong)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is not of the type that the operation takes.
    pub(super) fn body<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let body = if self.received.body.is_empty() { &b"{}"[..] } else { &self.received.body };
        serde_json::from_slice(body).map_err(|error| Problem::wrong(format!("the body is not what it takes: {error}")))
    }

    /// Where the page that was asked for begins.
    ///
    /// # Errors
    /// When the cursor is not one of this list.
    pub(super) fn after<K: DeserializeOwned>(&self, cursor: Option<&String>) -> Result<Option<K>, Problem> {
        cursor.map(|cursor| self.received.list.key(cursor)).transpose()
    }

    /// A page of rows, of which one more was read than fits: so it is known whether others follow.
    pub(super) fn page<T, K: Serialize>(
        &self,
        mut rows: Vec<T>,
        limit: Option<Limit>,
        key: impl Fn(&T) -> K,
    ) -> Result<Page<T>, Problem> {
        let limit = Limit::of(limit) as usize;
        let is_last = rows.len() <= limit;
        rows.truncate(limit);
        let next = match rows.last() {
            Some(last) if !is_last => Some(self.received.list.cursor(&key(last))?),
            _ => None,
        };
        Ok(Page { data: rows, next })
    }
}
