//! What an operation of the API is: a method on a path, who may call it, and how it is handled.

use axum::http::Method;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::answer::{Answer, Recorded, Reply};
use super::call::Call;
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
pub(super) type Answered = Result<(Reply, Option<Deed>), Problem>;

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
    /// Whether a request may name itself by a key, so that it is carried out once however often it comes. What it
    /// changes is written in one transaction, together with the answer.
    pub(super) is_keyed: bool,
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
    pub(super) fn get<Q, A, F>(
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
    pub(super) fn post<B, A, F>(
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
            is_keyed: true,
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
            is_keyed: false,
            is_heavy: false,
            parameters: NoQuery::parameters,
            body: None,
            content: A::content,
            handler,
        }
    }

    /// The same for a caller of this role at least.
    pub(super) fn by(self, role: Role) -> Self {
        Self { role, ..self }
    }

    /// The same without keys: repeating it does no harm.
    pub(super) fn unkeyed(self) -> Self {
        Self { is_keyed: false, ..self }
    }

    /// The same, of which a host answers few at once.
    pub(super) fn heavy(self) -> Self {
        Self { is_heavy: true, ..self }
    }

    /// The same for a token of all tenants alone.
    pub(super) fn of_installation(self) -> Self {
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
