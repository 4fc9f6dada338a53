//! All operations of the API, in one table. The routes and the document are both made of it, and a parameter or an
//! answer is described by the very type that the handler takes or returns.

use axum::http::Method;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::answer::{Answer, Recorded, Reply};
use super::call::Call;
use super::handlers::{acts, artists, installation, numbers, webhooks, work};
use super::problem::Problem;
use super::query::{NoQuery, Pairs, Parameter, Query};
use super::schema::{Components, Described};
use crate::pipeline::Deed;
use backline_model::Role;
use backline_model::audit::ActOutcome;

/// Whose matters an operation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Rows of tenants: a token of one tenant reaches its own.
    Tenant,
    /// The installation as a whole: only a token of all tenants reaches it.
    Installation,
}

/// What an operation answers, and what the audit log keeps of it if it changed something.
type Answered = Result<(Reply, Option<Deed>), Problem>;

type Handler = Box<dyn Fn(Call, &Pairs) -> BoxFuture<'static, Answered> + Send + Sync>;

/// An operation: a method on a path, and who may call it.
pub(super) struct Operation {
    pub(super) method: Method,
    /// The path, with its variable parts in braces.
    pub(super) path: &'static str,
    /// What programs call it.
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) role: Role,
    pub(super) reach: Reach,
    /// What the audit log calls it, as the command line does, of an operation that changes something.
    pub(super) action: Option<&'static str>,
    /// Whether it reads so much that a host answers few of its kind at once.
    pub(super) is_heavy: bool,
    pub(super) parameters: fn() -> Vec<Parameter>,
    /// The schema of its body, of an operation that changes something.
    pub(super) body: Option<fn(&mut Components) -> Json>,
    /// The `content` of its response.
    pub(super) content: fn(&mut Components) -> Json,
    pub(super) handler: Handler,
}

impl Operation {
    /// An operation that reads.
    fn get<Q, A, F>(
        path: &'static str,
        id: &'static str,
        summary: &'static str,
        handler: impl Fn(Call, Q) -> F + Send + Sync + 'static,
    ) -> Self
    where
        Q: Query,
        A: Answer,
        F: Future<Output = Result<A, Problem>> + Send + 'static,
    {
        let handler: Handler = Box::new(move |call, pairs| {
            handled(Q::read(pairs), |query| {
                let answered = handler(call, query);
                async move { Ok((answered.await?.reply()?, None)) }
            })
        });
        Self { parameters: Q::parameters, ..Self::new::<A>(Method::GET, path, id, summary, handler) }
    }

    /// An operation that changes something. Its handler can't but say what the audit log keeps of it.
    fn post<B, A, F>(
        path: &'static str,
        id: &'static str,
        action: &'static str,
        summary: &'static str,
        handler: impl Fn(Call, B) -> F + Send + Sync + 'static,
    ) -> Self
    where
        B: DeserializeOwned + Described,
        A: Answer,
        F: Future<Output = Result<Recorded<A>, Problem>> + Send + 'static,
    {
        let handler: Handler = Box::new(move |call, _| {
            handled(call.body::<B>(), |body| {
                let answered = handler(call, body);
                async move {
                    let Recorded { answer, details, artist } = answered.await?;
                    let deed = Deed {
                        action: action.to_owned(),
                        outcome: ActOutcome::Done,
                        tenant: None,
                        artist,
                        account: None,
                        details,
                    };
                    Ok((answer.reply()?, Some(deed)))
                }
            })
        });
        Self {
            role: Role::Operator,
            action: Some(action),
            body: Some(B::refer),
            ..Self::new::<A>(Method::POST, path, id, summary, handler)
        }
    }

    /// What all operations have in common unless they say otherwise: a viewer may call them, they reach the rows of
    /// tenants, and they take and change nothing.
    fn new<A: Answer>(
        method: Method,
        path: &'static str,
        id: &'static str,
        summary: &'static str,
        handler: Handler,
    ) -> Self {
        Self {
            method,
            path,
            id,
            summary,
            role: Role::Viewer,
            reach: Reach::Tenant,
            action: None,
            is_heavy: false,
            parameters: NoQuery::parameters,
            body: None,
            content: A::content,
            handler,
        }
    }

    /// The same for a caller of this role at least.
    fn by(self, role: Role) -> Self {
        Self { role, ..self }
    }

    /// The same, of which a host answers few at once.
    fn heavy(self) -> Self {
        Self { is_heavy: true, ..self }
    }

    /// The same for a token of all tenants alone.
    fn of_installation(self) -> Self {
        Self { reach: Reach::Installation, ..self }
    }
}

/// Handles a call once what it was given is read, or answers with the problem of that.
fn handled<T, F>(read: Result<T, Problem>, handle: impl FnOnce(T) -> F) -> BoxFuture<'static, Answered>
where
    F: Future<Output = Answered> + Send + 'static,
{
    match read {
        Ok(given) => handle(given).boxed(),
        Err(problem) => async move { Err(problem) }.boxed(),
    }
}

/// All operations.
pub(super) fn all() -> Vec<Operation> {
    vec![
        Operation::get("/v1/token", "token", "The token that is given", installation::token),
        Operation::get("/v1/tenants", "tenants", "The tenants that the token reaches", artists::tenants),
        Operation::get(
            "/v1/tenants/{tenant}/health",
            "tenant_health",
            "How a tenant's collection goes",
            artists::health,
        )
        .heavy(),
        Operation::get("/v1/artists", "artists", "Artists, by id", artists::list),
        Operation::get("/v1/artists/{artist}", "artist", "One artist", artists::get),
        Operation::get(
            "/v1/artists/{artist}/consents",
            "artist_consents",
            "What an artist consented to and withdrew, the earliest first",
            artists::consents,
        ),
        Operation::get("/v1/accounts", "accounts", "Artists' accounts on platforms, by id", artists::accounts),
        Operation::get("/v1/accounts/{account}", "account", "One account", artists::account),
        Operation::get("/v1/metrics", "metrics", "Collected numbers, the latest date first", numbers::metrics),
        Operation::get(
            "/v1/growth",
            "growth",
            "How numbers changed over 1, 7, 28 and 90 days, the latest date first",
            numbers::growth,
        ),
        Operation::get(
            "/v1/quarantine",
            "quarantine",
            "Values that failed validation, the latest first",
            numbers::quarantine,
        ),
        Operation::get("/v1/quarantine/{value}", "quarantined", "One value that failed validation", numbers::withheld),
        Operation::get("/v1/runs", "runs", "Runs, the latest first", work::runs),
        Operation::get("/v1/runs/{run}", "run", "One run", work::run),
        Operation::get(
            "/v1/runs/{run}/outcomes",
            "run_outcomes",
            "How each account ended in a run, by account id",
            work::outcomes,
        ),
        Operation::get("/v1/batches", "batches", "Batches, the latest first", work::batches),
        Operation::get("/v1/batches/{batch}", "batch", "One batch", work::batch),
        Operation::get(
            "/v1/batches/{batch}/accounts",
            "batch_accounts",
            "The accounts of a batch, in its order",
            work::batch_accounts,
        ),
        Operation::get("/v1/events", "events", "What happened, the earliest first", webhooks::events),
        Operation::get(
            "/v1/events/stream",
            "events_stream",
            "Events as they come, as server-sent events; `Last-Event-ID` goes on after an earlier one",
            webhooks::stream,
        ),
        Operation::get("/v1/events/{event}", "event", "One event", webhooks::event),
        Operation::get("/v1/webhooks", "webhooks", "Where events are sent, by name", webhooks::list).by(Role::Operator),
        Operation::get(
            "/v1/deliveries",
            "deliveries",
            "What was sent to webhooks, the latest event first",
            webhooks::deliveries,
        )
        .by(Role::Operator),
        Operation::get("/v1/audit", "audit", "Who did what, the latest first", installation::audit).by(Role::Admin),
        Operation::get("/v1/plan", "plan", "What a run would do now", work::plan).heavy().of_installation(),
        Operation::get("/v1/pauses", "pauses", "Pauses that platforms asked for", installation::pauses)
            .of_installation(),
        Operation::get("/v1/schedules", "schedules", "When runs are due, by name", installation::schedules)
            .of_installation(),
        Operation::get("/v1/releases", "releases", "Releases of connectors, the latest first", installation::releases)
            .of_installation(),
        Operation::get("/v1/releases/{digest}", "release", "One release", installation::release).of_installation(),
        Operation::get("/v1/hosts", "hosts", "The hosts on the database, by name", installation::hosts)
            .of_installation(),
        Operation::get("/v1/health", "health", "Objectives, alerts and recommendations", installation::health)
            .heavy()
            .of_installation(),
        Operation::post("/v1/runs", "run_start", "run", "Plan a run; the hosts that serve collect it", acts::start_run)
            .of_installation(),
        Operation::post(
            "/v1/runs/{run}/cancel",
            "run_cancel",
            "run cancel",
            "End what is open of a run as excluded; what was collected stays",
            acts::cancel_run,
        )
        .of_installation(),
        Operation::post(
            "/v1/batches/retry",
            "batches_retry",
            "batches retry",
            "Plan dead batches again with all their attempts; their runs continue",
            acts::retry_batches,
        ),
        Operation::post(
            "/v1/quarantine/{value}/release",
            "quarantine_release",
            "quarantine release",
            "Accept a value: it is stored, and growth that depends on it is computed again",
            acts::release,
        ),
        Operation::post(
            "/v1/quarantine/{value}/discard",
            "quarantine_discard",
            "quarantine discard",
            "Discard a value: its metric stays missing",
            acts::discard,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn paths_and_names_are_told_apart() {
        let operations = all();
        let ids: BTreeSet<&str> = operations.iter().map(|operation| operation.id).collect();
        assert_eq!(ids.len(), operations.len());
        let places: BTreeSet<(&str, &str)> =
            operations.iter().map(|operation| (operation.path, operation.method.as_str())).collect();
        assert_eq!(places.len(), operations.len());
        assert!(operations.iter().all(|operation| operation.path.starts_with("/v1/")));
    }

    #[test]
    fn what_changes_something_has_an_action_and_what_reads_has_none() {
        for operation in all() {
            assert_eq!(operation.action.is_some(), operation.method == Method::POST, "{}", operation.id);
            assert!(!operation.is_heavy || operation.method == Method::GET, "{}", operation.id);
        }
    }

    #[test]
    fn what_reads_a_whole_installation_or_tenant_is_heavy() {
        let heavy: Vec<&str> = all().iter().filter(|operation| operation.is_heavy).map(|one| one.id).collect();
        assert_eq!(heavy, ["tenant_health", "plan", "health"]);
    }

    #[test]
    fn a_list_that_can_be_cut_off_can_be_continued() {
        for operation in all() {
            let names: Vec<&str> = (operation.parameters)().iter().map(|parameter| parameter.name).collect();
            assert_eq!(names.contains(&"limit"), names.contains(&"cursor"), "{}", operation.id);
        }
    }
}
