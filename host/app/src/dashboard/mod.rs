//! The dashboard at `/` of a running host: pages made on the server. Scripts only add to them.
//!
//! It is an edge like the API and the command line: it calls `pipeline`, with the scope of the token that logged in.
//! It knows neither HTTP types nor statuses: `api` hands it requests as plain values, and makes responses of its
//! answers.

mod acts;
mod assets;
mod frame;
mod pages;
mod refusal;
mod routes;
mod session;

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use tokio::sync::Semaphore;
use uuid::Uuid;

use self::acts::Acted;
pub(crate) use self::assets::Asset;
use self::frame::View;
use self::pages::Ask;
pub(crate) use self::refusal::{Kind, Refusal};
use self::routes::{FormAct, Page, Target, target};
pub(crate) use self::session::Visitor;
use crate::pipeline::{ActSubjects, AuditLog, Deed, Host, Sessions, Tokens};
use backline_model::audit::{ActOutcome, Actor};
use backline_model::{MetricsRow, TokenId};

/// Most pages that count much which a host makes at once.
const HEAVY_MAX: usize = 2;

/// A request, free of HTTP types.
pub(crate) struct Request {
    pub(crate) is_post: bool,
    pub(crate) path: String,
    /// The part of the URL behind `?`.
    pub(crate) query: String,
    /// The form that is sent, as browsers encode it.
    pub(crate) body: Vec<u8>,
    pub(crate) peer: IpAddr,
    /// Names it in the audit log.
    pub(crate) id: Uuid,
    /// The header `Cookie`.
    pub(crate) cookie: Option<String>,
    /// The header `Host`.
    pub(crate) host: Option<String>,
    /// The header `Origin`, which browsers send with forms.
    pub(crate) origin: Option<String>,
    /// The header `Sec-Fetch-Site`.
    pub(crate) fetch_site: Option<String>,
    /// Whether this host speaks https, or a proxy says that the browser came by it.
    pub(crate) is_https: bool,
    /// Whether a script asks, which shows a part of the page.
    pub(crate) is_partial: bool,
}

impl Request {
    /// Whether the browser talks to this host, or the proxy before it, by https.
    fn came_by_https(&self) -> bool {
        self.is_https || self.origin.as_deref().is_some_and(|origin| origin.starts_with("https://"))
    }

    /// Whether the browser runs on this machine, or says that it means it.
    fn is_local(&self) -> bool {
        let host = self.host.as_deref().unwrap_or_default();
        let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
        self.peer.is_loopback() || matches!(name, "localhost" | "127.0.0.1" | "[::1]")
    }

    /// Refuses a form that another site sent.
    fn check_origin(&self) -> Result<(), Refusal> {
        let is_own = match (&self.fetch_site, &self.origin) {
            (Some(site), _) => site == "same-origin",
            (None, Some(origin)) => {
                let place = origin.split_once("://").map(|(_, place)| place);
                place.is_some() && place == self.host.as_deref()
            }
            // No browser: a program that has the cookie has it from its user.
            (None, None) => true,
        };
        if is_own { Ok(()) } else { Err(Refusal::new(Kind::Forbidden, "the form was sent by another site")) }
    }

    /// The token that the form of the login holds.
    pub(crate) fn token_id(&self) -> Option<TokenId> {
        Tokens::id_in(&Form::of(&self.body).text("token")?)
    }

    /// Whether it is an attempt to log in.
    pub(crate) fn is_login(&self) -> bool {
        self.is_post && matches!(target(true, &self.path), Some(Target::Login))
    }
}

/// The names and values of a form or of a URL, without U+0000, which PostgreSQL has in no text.
fn pairs(encoded: &[u8]) -> Vec<(String, String)> {
    let all = url::form_urlencoded::parse(encoded).into_owned();
    all.map(|(name, value)| (name, value.replace('\0', ""))).collect()
}

/// A form's fields.
struct Form(Vec<(String, String)>);

impl Form {
    fn of(body: &[u8]) -> Self {
        Self(pairs(body))
    }

    /// A field without the blanks around it; none where it is empty.
    fn text(&self, name: &str) -> Option<String> {
        let (_, value) = self.0.iter().find(|(known, _)| known == name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }
}

/// What a request is answered with.
pub(crate) enum Answer {
    /// A page.
    Page(String),
    /// A table of numbers, under this name.
    Numbers(Vec<MetricsRow>, String),
    /// A file that never changes under its path.
    Asset(&'static Asset),
    /// Another page is to be asked for, with these `Set-Cookie` headers.
    Elsewhere {
        /// Path of the page.
        to: String,
        cookies: Vec<String>,
    },
    /// Why not, and the page that says so.
    Refused(Kind, String),
}

/// The dashboard of a host.
pub(crate) struct Dashboard {
    heavy: Semaphore,
}

impl Dashboard {
    pub(crate) fn new() -> Self {
        Self { heavy: Semaphore::new(HEAVY_MAX) }
    }

    /// Whether a path is the dashboard's.
    pub(crate) fn knows(path: &str) -> bool {
        target(false, path).is_some() || target(true, path).is_some()
    }

    /// Who sends a request. The session is looked up, and its token: logging out on another host ends it here too, and
    /// so does revoking the token.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn visitor(&self, host: &Host, request: &Request) -> Result<Option<Visitor>, Refusal> {
        if matches!(target(request.is_post, &request.path), Some(Target::Asset(_)) | None) {
            return Ok(None);
        }
        let cookie = request.cookie.as_deref().and_then(|given| session::cookie_in(given, request.came_by_https()));
        let Some(value) = cookie else { return Ok(None) };
        Ok(sessions(host).find(value).await?.map(Visitor::new))
    }

    /// Answers a request.
    pub(crate) async fn answer(self: Arc<Self>, host: Host, request: Request, visitor: Option<Visitor>) -> Answer {
        match self.answered(&host, &request, visitor.as_ref()).await {
            Ok(answer) => answer,
            Err(refusal) => refused(&refusal, visitor.as_ref()),
        }
    }

    async fn answered(&self, host: &Host, request: &Request, visitor: Option<&Visitor>) -> Result<Answer, Refusal> {
        let target = target(request.is_post, &request.path).ok_or_else(Refusal::wrong_method)?;
        if request.is_post {
            request.check_origin()?;
        }
        let visitor = match (target, visitor) {
            (Target::Asset(asset), _) => return Ok(Answer::Asset(asset)),
            (Target::LoginForm, None) => return Ok(Answer::Page(frame::login(None))),
            (Target::LoginForm, Some(_)) => return Ok(elsewhere("/", Vec::new())),
            (Target::Login, _) => return self.log_in(host, request, visitor).await,
            (target, Some(visitor)) => (target, visitor),
            // A script that asks again and again is to notice; a person is shown where to go on.
            (_, None) if request.is_partial || request.is_post => {
                return Err(Refusal::new(Kind::NoSession, "the session is over; log in again"));
            }
            (_, None) => return Ok(elsewhere("/login", Vec::new())),
        };
        match visitor {
            (Target::Page(page), visitor) => self.show(host, request, visitor, &page).await,
            (Target::FormAct(act), visitor) => self.act(host, request, visitor, &act).await,
            (_, visitor) => {
                visitor.check_csrf(Form::of(&request.body).text("csrf").as_deref())?;
                sessions(host).close(visitor.session()).await?;
                Ok(elsewhere("/login", session::no_cookie()))
            }
        }
    }

    async fn log_in(&self, host: &Host, request: &Request, before: Option<&Visitor>) -> Result<Answer, Refusal> {
        let is_https = request.came_by_https();
        if !is_https && !request.is_local() {
            let detail = "the token would be readable on its way; come by https, through a proxy that passes the \
                          header Host on, or by http from this machine";
            return Err(Refusal::new(Kind::Forbidden, detail));
        }
        let wrong =
            || Refusal::new(Kind::WrongToken, "no token in force was given; `backline tokens create` makes one");
        let token = Form::of(&request.body).text("token").ok_or_else(wrong)?;
        let tokens = Tokens::new(host.store().clone(), host.clock().clone());
        let caller = tokens.recognise(&token).await?.ok_or_else(wrong)?;
        // What was open in this browser ends: its secrets may be known to others.
        if let Some(before) = before {
            sessions(host).close(before.session()).await?;
        }
        let value = sessions(host).open(&caller).await?;
        Ok(elsewhere("/", vec![session::cookie(&value, is_https)]))
    }

    async fn show(&self, host: &Host, request: &Request, visitor: &Visitor, page: &Page) -> Result<Answer, Refusal> {
        visitor.check(page.needs())?;
        let ask = Ask::new(host, visitor, request, &self.heavy);
        if let Page::Numbers(artist) = page {
            let (rows, name) = pages::artists::numbers(&ask, artist).await?;
            return Ok(Answer::Numbers(rows, name));
        }
        let view: View = pages::view(&ask, page).await?;
        let notice = visitor.session().notice().filter(|_| !request.is_partial);
        if notice.is_some() {
            sessions(host).told(visitor.session()).await;
        }
        Ok(Answer::Page(frame::page(&view, visitor, notice)))
    }

    /// Does what a form asks for, and records it like the API and the command line.
    async fn act(&self, host: &Host, request: &Request, visitor: &Visitor, act: &FormAct) -> Result<Answer, Refusal> {
        visitor.check(act.needs())?;
        if host.config().service.read_only {
            return Err(Refusal::new(Kind::Forbidden, "this host only shows (service.read_only)"));
        }
        if host.has_wrong_clock().await? {
            let detail = "the clock of this host jumped, so nothing was changed; repeat it when the clock is right";
            return Err(Refusal::new(Kind::Conflict, detail));
        }
        let form = Form::of(&request.body);
        visitor.check_csrf(form.text("csrf").as_deref())?;
        let (log, subjects) = (AuditLog::new(host.store().clone(), host.clock().clone()), ActSubjects::default());
        if let Some(subject) = acts::subject(act, &form) {
            log.about(&visitor.scope(), &subjects, subject).await;
        }
        let (acted, deed) = match acts::done(host, visitor, act, &form).await {
            Ok(mut acted) => {
                if let Some(made) = acted.made.take() {
                    subjects.made(made);
                }
                let deed = recorded(act, acted.details.clone(), ActOutcome::Done);
                (Ok(acted), Some(deed))
            }
            // Some of it may have been done: its path names what it was about.
            Err(refusal) if refusal.is_failure() => {
                let deed = recorded(act, json!({ "path": request.path }), ActOutcome::Failed);
                (Err(refusal), Some(deed))
            }
            Err(refusal) => (Err(refusal), None),
        };
        if let Some(deed) = deed {
            let token = visitor.token();
            let artist = acted.as_ref().ok().and_then(|acted| acted.artist);
            let deed = Deed { tenant: token.tenant.clone(), artist, ..deed };
            let (name, origin) = (token.name.clone(), request.peer.to_string());
            let actor = Actor::Token { name, token_id: token.id, origin, request_id: request.id };
            if let Err(error) = log.record(&visitor.scope(), actor, deed, &subjects).await {
                // What is done can't be undone for the lack of an entry.
                tracing::error!(%error, request = %request.id, "the audit log lacks an entry");
            }
        }
        let Acted { to, said, .. } = match acted {
            Ok(acted) => acted,
            Err(refusal) => return Ok(self.again(host, visitor, act, &form, &refusal).await),
        };
        sessions(host).tell(visitor.session(), &said).await;
        Ok(elsewhere(&to, Vec::new()))
    }

    /// The page of a form that was refused, with what was typed in it; where that is of no use, the refusal alone.
    async fn again(&self, host: &Host, visitor: &Visitor, act: &FormAct, form: &Form, refusal: &Refusal) -> Answer {
        let is_of_use = match refusal.kind {
            Kind::Wrong => true,
            // What was rolled back or cancelled meanwhile is not to be asked about once more.
            Kind::Conflict => {
                matches!(act, FormAct::StartRun | FormAct::StartBulk | FormAct::Activate(_) | FormAct::AddDigest)
            }
            _ => false,
        };
        if let Some((page, path)) = act.page().filter(|_| is_of_use) {
            let ask = Ask::again(host, visitor, &path, form, &self.heavy);
            if let Ok(view) = pages::view(&ask, &page).await {
                return Answer::Refused(refusal.kind, frame::page_again(view, refusal, visitor));
            }
        }
        refused(refusal, Some(visitor))
    }
}

/// What the audit log keeps of an act, with the way by which it came.
fn recorded(act: &FormAct, mut details: Json, outcome: ActOutcome) -> Deed {
    details["way"] = json!("dashboard");
    Deed { action: act.action().to_owned(), outcome, tenant: None, artist: None, account: None, details }
}

fn sessions(host: &Host) -> Sessions {
    Sessions::new(host.store().clone(), host.clock().clone())
}

fn elsewhere(to: &str, cookies: Vec<String>) -> Answer {
    Answer::Elsewhere { to: to.to_owned(), cookies }
}

/// The answer that says why not.
pub(crate) fn refused(refusal: &Refusal, visitor: Option<&Visitor>) -> Answer {
    Answer::Refused(refusal.kind, frame::refused(refusal, visitor))
}

/// The same answer, which says on its page or in the name of its file that all it shows is simulated. Every answer of
/// such a host passes here.
pub(crate) fn simulated(answer: Answer) -> Answer {
    match answer {
        Answer::Page(page) => Answer::Page(frame::simulated(&page)),
        Answer::Refused(kind, page) => Answer::Refused(kind, frame::simulated(&page)),
        Answer::Numbers(rows, name) => Answer::Numbers(rows, format!("simulated-{name}")),
        Answer::Asset(_) | Answer::Elsewhere { .. } => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(host: &str, origin: Option<&str>, fetch_site: Option<&str>) -> Request {
        Request {
            is_post: true,
            path: "/login".to_owned(),
            query: String::new(),
            body: b"token=a+b%00&csrf=&x=%3C".to_vec(),
            peer: "192.0.2.1".parse().expect("an address"),
            id: Uuid::nil(),
            cookie: None,
            host: Some(host.to_owned()),
            origin: origin.map(str::to_owned),
            fetch_site: fetch_site.map(str::to_owned),
            is_https: false,
            is_partial: false,
        }
    }

    #[test]
    fn a_form_of_another_site_is_refused() {
        let checked = |origin, site| request("here.test:8321", origin, site).check_origin().is_ok();
        assert!(checked(Some("http://here.test:8321"), None) && checked(None, None));
        assert!(checked(Some("https://here.test:8321"), Some("same-origin")));
        for (origin, site) in [
            (Some("http://there.test"), None),
            (Some("http://here.test"), None),
            (Some("null"), None),
            (Some("http://here.test:8321"), Some("cross-site")),
            (None, Some("same-site")),
        ] {
            assert!(!checked(origin, site), "{origin:?} {site:?}");
        }
    }

    #[test]
    fn a_token_is_taken_over_https_or_on_this_machine() {
        for (host, local) in [
            ("127.0.0.1:8321", true),
            ("localhost", true),
            ("[::1]:8321", true),
            ("[::1]", true),
            ("localhost.evil.test", false),
            ("192.0.2.7:8321", false),
        ] {
            assert_eq!(request(host, None, None).is_local(), local, "{host}");
        }
        assert!(request("a.test", Some("https://a.test"), None).came_by_https());
        assert!(!request("a.test", Some("http://a.test"), None).came_by_https());
    }

    #[test]
    fn a_field_that_is_empty_is_none() {
        let form = Form::of(&request("a", None, None).body);
        assert_eq!(
            (form.text("token"), form.text("csrf"), form.text("x")),
            (Some("a b".into()), None, Some("<".into()))
        );
        assert_eq!(form.text("y"), None);
    }
}
