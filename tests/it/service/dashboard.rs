//! Tests of the dashboard, by the requests that a browser sends.

mod pages;

use std::collections::{BTreeMap, BTreeSet};

use backline_model::audit::Actor;
use backline_model::row::QuarantineStatus;
use backline_model::{ArtistId, Role, RunStatus, Tenant};
use backline_store::{AuditFilter, Scope, Store};
use chrono::TimeDelta;
use serde_json::json;

use super::api::Answering;
use super::support::{Place, ask};
use crate::store::fixtures::{account, artist, now, release, run};
use crate::store::scope::{fill, held, ours};
use crate::support::database::{each_database, spoil, write};

/// A form's fields, by name.
type Fields<'a> = &'a [(&'a str, &'a str)];

/// What a browser got.
struct Seen {
    status: u16,
    /// Status line and headers, in lower case.
    head: String,
    body: String,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn goes_to(&self) -> Option<&str> {
        (self.status == 303).then(|| self.header("location")).flatten()
    }

    /// The secret of the session, as every form has it.
    fn csrf(&self) -> String {
        let (_, rest) = self.body.split_once("name=\"csrf\" value=\"").expect("a form");
        rest.split_once('"').expect("a value").0.to_owned()
    }
}

/// A browser on a host, with its cookie.
struct Browser {
    address: String,
    cookie: Option<String>,
}

impl Browser {
    fn new(address: &str) -> Self {
        Self { address: address.to_owned(), cookie: None }
    }

    /// One that is logged in with this token.
    async fn with(address: &str, token: &str) -> Self {
        let mut browser = Self::new(address);
        let seen = browser.post("/login", &[("token", token)]).await;
        assert_eq!(seen.goes_to(), Some("/"), "{}\n{}", seen.head, seen.body);
        browser.keep(&seen);
        browser
    }

    /// One that is logged in with a new token.
    async fn of(answering: &Answering, role: Role, tenant: Option<Tenant>) -> Self {
        let (_, token) = answering.token(role, tenant, None).await;
        Self::with(&answering.address, token.expose()).await
    }

    fn keep(&mut self, seen: &Seen) {
        let cookie = seen.header("set-cookie").expect("a cookie");
        self.cookie = Some(cookie.split_once(';').expect("flags").0.to_owned());
    }

    async fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Seen {
        let cookie = self.cookie.as_ref().map(|cookie| format!("cookie: {cookie}\r\n")).unwrap_or_default();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: here.test\r\nconnection: close\r\ncontent-length: {length}\r\n\
             {cookie}{headers}\r\n{body}"
        );
        let (status, head, body) = ask(&self.address, &request).await;
        Seen { status, head, body }
    }

    async fn get(&self, path: &str) -> Seen {
        self.send("GET", path, "", "").await
    }

    async fn post(&self, path: &str, fields: Fields<'_>) -> Seen {
        self.post_from("http://here.test", path, fields).await
    }

    async fn post_from(&self, origin: &str, path: &str, fields: Fields<'_>) -> Seen {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let headers = format!("origin: {origin}\r\ncontent-type: application/x-www-form-urlencoded\r\n");
        self.send("POST", path, &headers, &body).await
    }

    /// Sends a form of the page at `/`.
    async fn act(&self, path: &str, fields: Fields<'_>) -> Seen {
        let csrf = self.get("/").await.csrf();
        let mut all = vec![("csrf", csrf.as_str())];
        all.extend_from_slice(fields);
        self.post(path, &all).await
    }

    /// Every page that links from `/` lead to, once for each kind of query.
    async fn walk(&self) -> BTreeMap<String, Seen> {
        let (mut seen, mut kinds) = (BTreeMap::new(), BTreeSet::new());
        let mut open = vec!["/".to_owned()];
        while let Some(link) = open.pop() {
            if link == "/openapi.json" || link.starts_with("/assets/") || !kinds.insert(kind(&link)) {
                continue;
            }
            assert!(kinds.len() < 150, "there is no end of links: {kinds:?}");
            let page = self.get(&link).await;
            assert_eq!(page.status, 200, "{link}: {}", page.body);
            open.extend(links(&page.body));
            seen.insert(link, page);
        }
        seen
    }
}

/// A link's path with the names of its parameters.
fn kind(link: &str) -> String {
    let (path, query) = link.split_once('?').unwrap_or((link, ""));
    let names: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name).collect();
    format!("{path}?{}", names.join("&"))
}

/// The addresses of a page's links.
fn links(page: &str) -> Vec<String> {
    let targets = page.split(" href=\"").skip(1).filter_map(|rest| rest.split_once('"'));
    let inside = targets.filter(|(target, _)| target.starts_with('/'));
    inside.map(|(target, _)| target.replace("&quot;", "\"").replace("&amp;", "&")).collect()
}

async fn acts(store: &Store) -> Vec<backline_model::audit::Act> {
    let log = store.audit_list(&Scope::all_tenants(), &AuditFilter::default()).await.unwrap();
    log.into_iter().map(|entry| entry.act).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_opens_a_session_and_without_one_nothing_is_shown() {
    each_database(async |_, url| {
        let serving = Place::new(url, "").serve(&[]).await;
        let place = Place::new(url, "");
        let (_, token, _) = place.run(&["tokens", "create", "--role", "viewer", "--name", "eve"]).await;
        let stranger = Browser::new(&serving.address);
        for path in ["/", "/runs", "/settings", "/artists/x/metrics.csv"] {
            let seen = stranger.get(path).await;
            assert_eq!((seen.goes_to(), seen.body.as_str()), (Some("/login"), ""), "{path}");
        }
        let form = stranger.get("/login").await;
        assert_eq!(form.status, 200);
        assert!(form.body.contains("<label for=\"token\">") && !form.body.contains("<nav"), "{}", form.body);
        for wrong in ["", "x", &token.trim()[..token.trim().len() - 1]] {
            let refused = stranger.post("/login", &[("token", wrong)]).await;
            assert_eq!((refused.status, refused.header("set-cookie")), (401, None), "{wrong}");
            assert!(refused.body.contains("no token in force was given"), "{}", refused.body);
        }
        let seen = stranger.post("/login", &[("token", token.trim())]).await;
        let cookie = seen.header("set-cookie").expect("a cookie");
        assert!(cookie.starts_with("backline="), "{cookie}");
        assert!(cookie.ends_with("; path=/; httponly; samesite=strict"), "{cookie}");
        assert!(!cookie.contains(token.trim()), "the token is not in the cookie");
        let proxied = stranger.post_from("https://here.test", "/login", &[("token", token.trim())]).await;
        let cookie = proxied.header("set-cookie").expect("a cookie");
        assert!(cookie.starts_with("__host-backline=") && cookie.ends_with("; secure"), "{cookie}");
        let browser = Browser::with(&serving.address, token.trim()).await;
        let overview = browser.get("/").await;
        assert_eq!(overview.status, 200);
        assert!(overview.body.contains("eve · viewer · all tenants"), "{}", overview.body);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends_with_its_token_at_logout_and_in_time() {
    each_database(async |_, url| {
        let answering = Answering::on(url).await;
        let (id, token) = answering.token(Role::Viewer, None, None).await;
        let browser = Browser::with(&answering.address, token.expose()).await;
        assert_eq!(browser.get("/").await.status, 200);
        answering.tokens().revoke(id).await.unwrap();
        assert_eq!(browser.get("/").await.goes_to(), Some("/login"), "the token is revoked");
        let part = browser.send("GET", "/runs", "hx-request: true\r\n", "").await;
        assert_eq!(part.status, 401, "a script that asks again and again notices");

        let browser = Browser::of(&answering, Role::Viewer, None).await;
        let other = Browser::of(&answering, Role::Viewer, None).await;
        let (name, value) = browser.cookie.clone().expect("a cookie").split_once('=').map(owned).expect("a value");
        let (session, _) = value.split_once('.').expect("an id and a secret");
        let (_, other_value) = other.cookie.clone().expect("a cookie").split_once('=').map(owned).expect("a value");
        let (_, other_secret) = other_value.split_once('.').expect("an id and a secret");
        let forged = format!("{name}={session}.{other_secret}");
        let forger = Browser { address: answering.address.clone(), cookie: Some(forged) };
        assert_eq!(forger.get("/").await.goes_to(), Some("/login"), "the secret is another session's");

        let out = browser.act("/logout", &[]).await;
        assert_eq!(out.goes_to(), Some("/login"));
        assert!(out.head.matches("max-age=0").count() == 2, "{}", out.head);
        assert_eq!(browser.get("/").await.goes_to(), Some("/login"), "the host has forgotten it");
        assert_eq!(other.get("/").await.status, 200);
        *answering.time.lock().unwrap() = now() + TimeDelta::hours(12);
        assert_eq!(other.get("/").await.goes_to(), Some("/login"), "its time is over");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_one_host_is_one_of_all() {
    each_database(async |store, url| {
        fill(&store).await;
        let (one, other) = (Answering::on(url).await, Answering::on(url).await);
        let (id, token) = one.token(Role::Operator, None, None).await;
        let browser = Browser::with(&one.address, token.expose()).await;
        let elsewhere = Browser { address: other.address.clone(), cookie: browser.cookie.clone() };
        assert_eq!(elsewhere.get("/").await.status, 200);
        // A form of one is taken by the other, and what was done is said by the first that shows a page.
        let fields = [("csrf", browser.get("/").await.csrf()), ("name", "hook-ours".to_owned())];
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let disabled = elsewhere.post("/webhooks/disable", &fields).await;
        assert_eq!(disabled.goes_to(), Some("/webhooks"), "{}", disabled.body);
        let notice = "class=\"notice\"";
        assert!(browser.get("/webhooks").await.body.contains(notice));
        assert!(!elsewhere.get("/webhooks").await.body.contains(notice), "it was said");
        assert_eq!(elsewhere.act("/logout", &[]).await.goes_to(), Some("/login"));
        assert_eq!(browser.get("/").await.goes_to(), Some("/login"), "it is over on both");

        let browser = Browser::with(&other.address, token.expose()).await;
        one.tokens().revoke(id).await.unwrap();
        assert_eq!(browser.get("/").await.goes_to(), Some("/login"), "the token is revoked");
        // No host answers it, and upkeep removes it.
        let (_, value) = browser.cookie.clone().expect("a cookie").split_once('=').map(owned).expect("a value");
        let (session, _) = value.split_once('.').expect("an id and a secret");
        let session = uuid::Uuid::try_parse(session).expect("an id");
        assert!(store.session_get(session).await.unwrap().is_some());
        // One that can't be read is as if it was over: its browser logs in again.
        let broken = format!("UPDATE dashboard_sessions SET secret = '{}' WHERE id = '{session}'", "x".repeat(64));
        write(url, &broken).await;
        store.session_get(session).await.unwrap_err();
        assert_eq!(browser.get("/").await.goes_to(), Some("/login"));
        one.host.archive().answers_remove().await.unwrap();
        assert_eq!(store.session_get(session).await.unwrap(), None);
    })
    .await;
}

fn owned((one, other): (&str, &str)) -> (String, String) {
    (one.to_owned(), other.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_that_no_page_of_the_session_has_is_refused() {
    each_database(async |store, url| {
        fill(&store).await;
        let before = acts(&store).await.len();
        let answering = Answering::on(url).await;
        let browser = Browser::of(&answering, Role::Admin, None).await;
        let other = Browser::of(&answering, Role::Admin, None).await;
        let (own, foreign) = (browser.get("/").await.csrf(), other.get("/").await.csrf());
        assert_ne!(own, foreign);
        let path = format!("/quality/{}/discard", held(1));
        let wrong: [Fields<'_>; 4] = [&[], &[("csrf", "")], &[("csrf", "x")], &[("csrf", foreign.as_str())]];
        for fields in wrong {
            assert_eq!(browser.post(&path, fields).await.status, 403, "{fields:?}");
        }
        let fields = [("csrf", own.as_str())];
        assert_eq!(browser.post_from("http://evil.test", &path, &fields).await.status, 403);
        let body = format!("csrf={own}");
        let headers = "origin: http://here.test\r\nsec-fetch-site: cross-site\r\n";
        assert_eq!(browser.send("POST", &path, headers, &body).await.status, 403);
        assert_eq!(browser.post("/logout", &[]).await.status, 403, "nor does another site log anyone out");
        assert_eq!(Browser::new(&answering.address).post(&path, &fields).await.status, 401, "no session");
        // What a link or an image of another site could ask for changes nothing.
        assert_eq!(browser.get(&path).await.status, 405);
        let value = store.quarantine_get(&Scope::all_tenants(), held(1)).await.unwrap().unwrap();
        assert_eq!(value.status, QuarantineStatus::Held);
        assert_eq!(acts(&store).await.len(), before);
        assert_eq!(browser.post(&path, &fields).await.goes_to(), Some("/quality"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_form_does_is_on_record() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let admin = Browser::of(&answering, Role::Admin, None).await;
        let (victim, _) = answering.token(Role::Viewer, None, None).await;
        let value = format!("/quality/{}/discard", held(1));
        let cancel = format!("/runs/{}/cancel", run(2).id);
        let revoke = format!("/tokens/{victim}/revoke");
        let remove = format!("/accounts/{}/remove", account(2).id);
        let (of_run, of_artist) = (format!("/runs/{}", run(2).id), format!("/artists/{}", artist(2).id));
        let done: [(&str, Fields<'_>, &str, Option<ArtistId>, &str); 5] = [
            (&value, &[], "quarantine discard", Some(artist(1).id), "/quality"),
            (&cancel, &[("reason", "a <test>")], "run cancel", None, &of_run),
            (&revoke, &[], "tokens revoke", None, "/tokens"),
            ("/webhooks/disable", &[("name", "hook-ours")], "webhooks disable", None, "/webhooks"),
            (&remove, &[("reason", "a <test>")], "accounts remove", Some(artist(2).id), &of_artist),
        ];
        for (path, fields, action, about, to) in done {
            let seen = admin.act(path, fields).await;
            assert_eq!(seen.goes_to(), Some(to), "{path}: {}", seen.body);
            let act = acts(&store).await.swap_remove(0);
            assert_eq!((act.action.as_str(), act.artist_id), (action, about), "{act:?}");
            assert_eq!(act.details["way"], json!("dashboard"), "{act:?}");
            let Actor::Token { name, origin, .. } = &act.actor else { panic!("{act:?}") };
            assert_eq!((name.as_str(), origin.as_str()), ("test", "127.0.0.1"));
            // The next page says so, once.
            let notice = "class=\"notice\"";
            assert!(admin.get(to).await.body.contains(notice), "{path}");
            assert!(!admin.get(to).await.body.contains(notice), "{path}");
        }
        let recorded = acts(&store).await.len();
        let all = Scope::all_tenants();
        let ended = store.run_get(&all, run(2).id).await.unwrap().unwrap();
        assert_ne!(ended.status, RunStatus::Running);
        assert!(!store.webhook_get(&all, "hook-ours").await.unwrap().enabled);
        let active = release().digest.to_string();
        let other = "0".repeat(64);
        let another = format!("/accounts/{}/remove", account(1).id);
        let refused: [(&str, Fields<'_>, u16); 12] = [
            (&remove, &[("reason", "again")], 404),
            (&another, &[], 400),
            // Decided, ended, and none was active before.
            (&value, &[], 409),
            (&cancel, &[], 409),
            ("/platforms/demo/rollback", &[("release", active.as_str())], 409),
            // As when a button is clicked twice: what the page showed is not active any more.
            ("/platforms/demo/rollback", &[("release", other.as_str())], 409),
            ("/platforms/demo/rollback", &[], 400),
            ("/quality/x/discard", &[], 404),
            ("/webhooks/disable", &[("name", "none")], 404),
            ("/webhooks/disable", &[], 400),
            ("/runs", &[("date", "2026-02-30")], 400),
            ("/runs", &[("platform", "nothing")], 400),
        ];
        for (path, fields, status) in refused {
            let refused = admin.act(path, fields).await;
            assert_eq!(refused.status, status, "{path}: {}", refused.body);
            assert!(refused.body.contains("role=\"alert\""), "{}", refused.body);
        }
        assert_eq!(acts(&store).await.len(), recorded, "what was refused changed nothing");
        let started = admin.act("/runs", &[("platform", "demo"), ("date", "")]).await;
        assert!(started.goes_to().is_some_and(|to| to.starts_with("/runs/")), "{}", started.body);
        assert_eq!(acts(&store).await[0].action, "run");
        let shown = admin.get("/audit").await.body;
        assert!(shown.contains("<td data-label=\"By\">dashboard</td>"), "{shown}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_can_t_be_read_is_shown_and_removed() {
    each_database(async |store, url| {
        fill(&store).await;
        let account_id = account(2).id;
        spoil(url, "accounts", "status", "'odd'", &format!("id = '{account_id}'")).await;
        let answering = Answering::on(url).await;
        let admin = Browser::of(&answering, Role::Admin, None).await;
        let remove = format!("/accounts/{account_id}/remove");
        for page in [format!("/accounts/{account_id}/timeline"), remove.clone()] {
            let seen = admin.get(&page).await;
            assert_eq!(seen.status, 200, "{page}: {}", seen.body);
            assert!(seen.body.contains(&account(2).platform_id), "{page}: {}", seen.body);
        }
        let removed = admin.act(&remove, &[("reason", "a <test>")]).await;
        assert_eq!(removed.goes_to(), Some(format!("/artists/{}", artist(2).id).as_str()), "{}", removed.body);
        assert_eq!(acts(&store).await[0].artist_id, Some(artist(2).id));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_started_once_though_its_button_is_clicked_twice() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let operator = Browser::of(&answering, Role::Operator, None).await;
        let all = Scope::all_tenants();
        let before = store.runs_list(&all, 100, None).await.unwrap().len();
        let recorded = acts(&store).await.len();
        let page = operator.get("/runs").await.body;
        let (_, rest) = page.split_once("name=\"once\" value=\"").expect("a form");
        let (once, _) = rest.split_once('"').expect("a value");
        let fields = [("platform", "demo"), ("once", once)];
        let (one, other) = tokio::join!(operator.act("/runs", &fields), operator.act("/runs", &fields));
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [303, 409], "{} {}", one.body, other.body);
        assert_eq!(store.runs_list(&all, 100, None).await.unwrap().len(), before + 1);
        assert_eq!(acts(&store).await.len(), recorded + 1, "what was refused is not on record");
        assert_eq!(operator.act("/runs", &[("platform", "demo"), ("once", "x")]).await.status, 400);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_that_is_refused_keeps_what_was_typed() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let operator = Browser::of(&answering, Role::Operator, None).await;
        let seen = operator.act("/runs", &[("platform", "demo"), ("date", "2026-02-30")]).await;
        assert_eq!(seen.status, 400, "{}", seen.body);
        assert!(seen.body.contains("value=\"2026-02-30\""), "{}", seen.body);
        assert!(seen.body.contains("<option value=\"demo\" selected>"), "{}", seen.body);
        assert!(seen.body.contains("role=\"alert\""), "{}", seen.body);
        let (path, reason) = (format!("/runs/{}", run(3).id), format!("<{}>", "x".repeat(500)));
        let seen = operator.act(&format!("{path}/cancel"), &[("reason", &reason)]).await;
        assert_eq!(seen.status, 400, "{}", seen.body);
        assert!(seen.body.contains(&format!("value=\"&lt;{}&gt;\"", "x".repeat(500))), "{}", seen.body);
        // What goes on by itself asks for the page, and not for the form.
        assert!(seen.body.contains(&format!("hx-get=\"{path}\"")), "{}", seen.body);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_logs_in_again_and_again_logs_out_nobody_else() {
    each_database(async |_, url| {
        let answering = Answering::on(url).await;
        let other = Browser::of(&answering, Role::Viewer, None).await;
        let (_, token) = answering.token(Role::Viewer, None, None).await;
        let mut browsers = Vec::new();
        for _ in 0..25 {
            browsers.push(Browser::with(&answering.address, token.expose()).await);
        }
        let mut open = 0;
        for browser in &browsers {
            open += usize::from(browser.get("/runs").await.status == 200);
        }
        assert_eq!(open, 20, "the first of them are closed");
        assert_eq!(other.get("/runs").await.status, 200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_https_no_cookie_counts_that_http_could_have_set() {
    each_database(async |_, url| {
        let answering = Answering::on(url).await;
        let mut browser = Browser::of(&answering, Role::Viewer, None).await;
        let https = "x-forwarded-proto: https\r\n";
        assert_eq!(browser.get("/runs").await.status, 200);
        assert_eq!(browser.send("GET", "/runs", https, "").await.goes_to(), Some("/login"));
        let given = browser.cookie.take().expect("a cookie");
        browser.cookie = Some(format!("__Host-{given}"));
        assert_eq!(browser.send("GET", "/runs", https, "").await.status, 200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_tokens_wait_as_they_do_with_the_api() {
    each_database(async |_, url| {
        let answering = Answering::on(url).await;
        let browser = Browser::new(&answering.address);
        for _ in 0..20 {
            assert_eq!(browser.post("/login", &[("token", "wrong")]).await.status, 401);
        }
        let (_, token) = answering.token(Role::Viewer, None, None).await;
        assert_eq!(browser.post("/login", &[("token", token.expose())]).await.status, 429);
        *answering.time.lock().unwrap() = now() + TimeDelta::seconds(3);
        assert_eq!(browser.post("/login", &[("token", token.expose())]).await.goes_to(), Some("/"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_one_tenant_decides_about_its_own_values_only() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let operator = Browser::of(&answering, Role::Operator, Some(ours())).await;
        let discard = |n: u128| format!("/quality/{}/discard", held(n));
        let refused = operator.act(&discard(2), &[]).await;
        let unknown = operator.act(&format!("/quality/{}/discard", uuid::Uuid::from_u128(7)), &[]).await;
        assert_eq!((refused.status, unknown.status), (404, 404), "{}", refused.body);
        assert_eq!(operator.act(&format!("/runs/{}/cancel", run(3).id), &[]).await.status, 403);
        assert_eq!(operator.act(&format!("/runs/{}/retry", run(2).id), &[]).await.status, 404);
        assert_eq!(operator.act(&discard(1), &[]).await.goes_to(), Some("/quality"));
        let viewer = Browser::of(&answering, Role::Viewer, Some(ours())).await;
        assert_eq!(viewer.act(&discard(1), &[]).await.status, 403);
        let value = store.quarantine_get(&Scope::all_tenants(), held(2)).await.unwrap().unwrap();
        assert_eq!(value.status, QuarantineStatus::Held);
    })
    .await;
}
