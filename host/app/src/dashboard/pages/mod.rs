//! The pages: what each reads, in the scope of its visitor, and how it shows it.

mod access;
pub(super) mod artists;
mod attention;
pub(super) mod bulk;
mod chart;
mod connectors;
mod digests;
mod overview;
mod quality;
mod runs;
mod timeline;
mod upkeep;
mod webhooks;

use std::str::FromStr;

use maud::{Markup, html};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::frame::{View, link};
use super::refusal::Refusal;
use super::routes::{FormAct, Page};
use super::session::Visitor;
use super::{Form, Request, pairs};
use crate::pipeline::{Host, names};
use backline_model::Platform;
use backline_store::{Scope, Store};

/// Rows of a page.
const ROWS: u32 = 50;

/// What a page is asked for.
pub(super) struct Ask<'a> {
    host: &'a Host,
    visitor: &'a Visitor,
    path: &'a str,
    query: Vec<(String, String)>,
    /// The form that was refused, of which the page is shown again.
    typed: Option<&'a Form>,
    heavy: &'a Semaphore,
}

impl<'a> Ask<'a> {
    pub(super) fn new(host: &'a Host, visitor: &'a Visitor, request: &'a Request, heavy: &'a Semaphore) -> Self {
        Self { host, visitor, path: &request.path, query: pairs(request.query.as_bytes()), typed: None, heavy }
    }

    /// The same page after its form was refused.
    pub(super) fn again(
        host: &'a Host,
        visitor: &'a Visitor,
        path: &'a str,
        form: &'a Form,
        heavy: &'a Semaphore,
    ) -> Self {
        Self { host, visitor, path, query: Vec::new(), typed: Some(form), heavy }
    }

    /// What was typed in a field of the form that was refused.
    fn typed(&self, name: &str) -> Option<String> {
        self.typed?.text(name)
    }

    fn store(&self) -> &Store {
        self.host.store()
    }

    fn scope(&self) -> Scope {
        self.visitor.scope()
    }

    /// Whether the visitor may do something, so that its form is shown.
    fn may(&self, act: &FormAct) -> bool {
        self.visitor.may(act.needs())
    }

    /// A parameter; none where it is empty, as a form sends what was not chosen.
    fn text(&self, name: &str) -> Option<&str> {
        let (_, value) = self.query.iter().find(|(known, _)| known == name)?;
        Some(value.trim()).filter(|value| !value.is_empty())
    }

    /// A parameter of a type that is read from a text.
    fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, Refusal> {
        let read = self.text(name).map(str::parse::<T>).transpose();
        read.map_err(|_| Refusal::wrong(format!("{name} is not one that can be read")))
    }

    /// A platform by its name or its connector's.
    async fn platform(&self) -> Result<Option<Platform>, Refusal> {
        match self.text("platform") {
            Some(given) => Ok(Some(names::platform(self.store(), given).await?)),
            None => Ok(None),
        }
    }

    /// Where the page begins.
    fn after<K: DeserializeOwned>(&self) -> Result<Option<K>, Refusal> {
        let read = self.text("after").map(serde_json::from_str::<K>).transpose();
        read.map_err(|_| Refusal::wrong("after is not where a page begins; open the list again"))
    }

    /// Cuts a list that was read with one row more than a page has, and links to the page that follows.
    fn cut<T, K: Serialize>(&self, rows: &mut Vec<T>, key: impl Fn(&T) -> K) -> Markup {
        if rows.len() <= ROWS as usize {
            return Markup::default();
        }
        rows.truncate(ROWS as usize);
        let key = rows.last().and_then(|last| serde_json::to_string(&key(last)).ok()).unwrap_or_default();
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.query.iter().filter(|(name, _)| name != "after"));
        query.append_pair("after", &key);
        html! {
            p { a rel="next" href={ (self.path) "?" (query.finish()) } { "The rows that follow" } }
        }
    }

    /// The address of the page that is shown.
    fn here(&self) -> String {
        if self.query.is_empty() {
            return self.path.to_owned();
        }
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.query);
        format!("{}?{}", self.path, query.finish())
    }

    /// A part of the page that is asked for again every few seconds while what it shows goes on.
    fn live(&self, goes_on: bool, part: &Markup) -> Markup {
        let here = self.here();
        html! {
            @if goes_on {
                // Without a script, the page is asked for again by hand.
                div id="live" hx-get=(here) hx-trigger="every 3s" hx-select="#live" hx-swap="outerHTML" { (part) }
                noscript { p { (link(&here, "Ask again")) " to see how it goes on." } }
            } @else {
                div id="live" { (part) }
            }
        }
    }

    /// Waits for its turn to count much.
    async fn turn(&self) -> Option<SemaphorePermit<'a>> {
        // Never closed; if it were, it would bound nothing.
        self.heavy.acquire().await.ok()
    }
}

/// An id in a path. One that can't be read is one that nothing has.
pub(super) fn id<T: FromStr>(what: &str, text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|_| Refusal::not_found(what, text))
}

/// What a page shows.
pub(super) async fn view(ask: &Ask<'_>, page: &Page) -> Result<View, Refusal> {
    match page {
        Page::Overview => overview::view(ask).await,
        Page::Runs => runs::list(ask).await,
        Page::Run(run) => runs::one(ask, run).await,
        Page::Artists => artists::list(ask).await,
        // Its numbers alone are no page, and are answered before.
        Page::Artist(artist) | Page::Numbers(artist) => artists::one(ask, artist).await,
        Page::AccountTimeline(account) => timeline::of_account(ask, account).await,
        Page::RemoveAccount(account) => attention::remove(ask, account).await,
        Page::Attention => attention::view(ask).await,
        Page::Connectors => connectors::list(ask).await,
        Page::Release(digest) => connectors::one(ask, digest).await,
        Page::ConnectorTimeline(name) => timeline::of_connector(ask, name).await,
        Page::Activate(digest) => connectors::activate(ask, digest).await,
        Page::RollBack(platform) => connectors::roll_back(ask, platform).await,
        Page::Allowances => upkeep::allowances(ask).await,
        Page::Quality => quality::view(ask).await,
        Page::Bulk => bulk::list(ask).await,
        Page::NewBulk => bulk::new(ask).await,
        Page::Webhooks => webhooks::view(ask).await,
        Page::Digests => digests::list(ask).await,
        Page::Digest(name) => digests::one(ask, name).await,
        Page::Schedules => upkeep::schedules(ask).await,
        Page::Archive => upkeep::archive(ask).await,
        Page::Tokens => access::tokens(ask).await,
        Page::Revoke(token) => access::revoke(ask, token).await,
        Page::Audit => access::audit(ask).await,
        Page::Settings => access::settings(ask),
    }
}
