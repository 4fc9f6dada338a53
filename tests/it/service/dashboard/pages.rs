//! What the pages show, and to whom.

use std::collections::BTreeSet;

use backline_model::{Artist, Provenance, Role, Tenant};
use backline_store::Scope;

use super::{Browser, links};
use crate::service::api::Answering;
use crate::service::support::Place;
use crate::store::fixtures::{account, artist, create_run, demo, now, release, run};
use crate::store::scope::{fill, marks, ours, theirs};
use crate::support::database::each_database;

/// A key and a password that occur nowhere else.
const KEY: &str = "Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LWNhbmE=";
const PASSWORD: &str = "canary-password";

/// The pages with what a token needs: a role, and whether it has to be one of all tenants.
fn needs() -> Vec<(String, Role, bool)> {
    let digest = release().digest;
    [
        ("/".to_owned(), Role::Viewer, false),
        ("/runs".to_owned(), Role::Viewer, false),
        (format!("/runs/{}", run(3).id), Role::Viewer, false),
        ("/artists".to_owned(), Role::Viewer, false),
        (format!("/artists/{}", artist(1).id), Role::Viewer, false),
        (format!("/artists/{}/metrics.csv", artist(1).id), Role::Viewer, false),
        (format!("/accounts/{}/timeline", account(1).id), Role::Viewer, false),
        (format!("/accounts/{}/remove", account(1).id), Role::Admin, false),
        ("/attention".to_owned(), Role::Viewer, false),
        ("/quality".to_owned(), Role::Viewer, false),
        ("/bulk".to_owned(), Role::Viewer, false),
        ("/bulk/new".to_owned(), Role::Operator, false),
        ("/connectors".to_owned(), Role::Viewer, true),
        (format!("/connectors/{digest}"), Role::Viewer, true),
        (format!("/connectors/{digest}/activate"), Role::Admin, true),
        (format!("/platforms/{}/rollback", demo()), Role::Operator, true),
        ("/connectors/demo/timeline".to_owned(), Role::Viewer, true),
        ("/allowances".to_owned(), Role::Viewer, true),
        ("/webhooks".to_owned(), Role::Operator, false),
        ("/digests".to_owned(), Role::Operator, true),
        ("/digests/digest-theirs".to_owned(), Role::Operator, true),
        ("/schedules".to_owned(), Role::Viewer, true),
        ("/archive".to_owned(), Role::Viewer, true),
        ("/tokens".to_owned(), Role::Admin, true),
        ("/audit".to_owned(), Role::Admin, false),
        ("/settings".to_owned(), Role::Admin, true),
    ]
    .into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_shown_to_whom_it_is_for() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        for role in Role::ALL {
            for tenant in [None, Some(ours())] {
                let browser = Browser::of(&answering, role, tenant.clone()).await;
                let menu = links(&browser.get("/").await.body);
                for (path, needed, is_of_installation) in needs() {
                    let may = role >= needed && (tenant.is_none() || !is_of_installation);
                    let seen = browser.get(&path).await;
                    let expected = if may { 200 } else { 403 };
                    assert_eq!(seen.status, expected, "{path} for {role:?} of {tenant:?}: {}", seen.body);
                    assert!(may || !menu.contains(&path), "{path} is offered to {role:?} of {tenant:?}");
                }
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_page_tells_a_tenant_of_another() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let stranger = Browser::of(&answering, Role::Admin, Some(ours())).await;
        let owner = Browser::of(&answering, Role::Admin, Some(theirs())).await;
        let seen = stranger.walk().await;
        assert!(seen.len() > 10, "{:?}", seen.keys());
        for (link, page) in seen {
            for mark in marks() {
                assert!(!page.body.contains(&mark), "{link} tells of theirs ({mark}): {}", page.body);
            }
        }
        let unknown = uuid::Uuid::from_u128(7).to_string();
        for (path, id) in [
            ("/runs/ID", run(2).id.to_string()),
            ("/artists/ID", artist(2).id.to_string()),
            ("/artists/ID/metrics.csv", artist(2).id.to_string()),
            ("/accounts/ID/timeline", account(2).id.to_string()),
            ("/accounts/ID/remove", account(2).id.to_string()),
        ] {
            let (own, none) = (path.replace("ID", &id), path.replace("ID", &unknown));
            assert_eq!(owner.get(&own).await.status, 200, "{own}: its own tenant is not let in");
            let (foreign, missing) = (stranger.get(&own).await, stranger.get(&none).await);
            assert_eq!((foreign.status, missing.status), (404, 404), "{own}");
            assert_eq!(foreign.body.replace(&id, "…"), missing.body.replace(&unknown, "…"), "{own}");
        }
        // Nor by an account of theirs, or where a page of theirs begins.
        let by_account = format!("/artists/{}?account={}", artist(1).id, account(2).id);
        assert_eq!(stranger.get(&by_account).await.status, 404);
        let numbers = format!("/artists/{}/metrics.csv?account={}", artist(1).id, account(2).id);
        assert!(!stranger.get(&numbers).await.body.contains(&account(2).id.to_string()));
        let by_name = stranger.get("/artists?name=artist%202%00").await.body;
        assert!(by_name.contains("No artist is like that."), "{by_name}");
        let own = stranger.get("/artists?name=artist%201").await.body;
        assert!(own.contains(&format!("/artists/{}", artist(1).id)), "{own}");
        for wrong in ["/runs?after=x", "/audit?after=%22a%22", "/artists?status=x", "/quality?status=x"] {
            assert_eq!(stranger.get(wrong).await.status, 400, "{wrong}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_reached_by_links_and_can_be_used_without_a_mouse_or_a_script() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let admin = Browser::of(&answering, Role::Admin, None).await;
        let seen = admin.walk().await;
        for (path, ..) in needs() {
            let found = seen.keys().any(|link| link.split_once('?').map_or(link.as_str(), |(path, _)| path) == path);
            // The platform's active release can be rolled back, not activated.
            let is_offered = !path.ends_with("/activate");
            assert_eq!(found, is_offered, "{path}: {:?}", seen.keys());
        }
        for (link, page) in &seen {
            for (name, value) in [
                ("x-content-type-options", "nosniff"),
                ("x-frame-options", "deny"),
                ("referrer-policy", "same-origin"),
                ("cache-control", "no-store"),
            ] {
                assert_eq!(page.header(name).map(str::to_lowercase).as_deref(), Some(value), "{link}: {name}");
            }
            let policy = page.header("content-security-policy").expect("a policy");
            assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
            assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
            if page.header("content-type").is_some_and(|kind| kind.starts_with("text/csv")) {
                continue;
            }
            let body = &page.body;
            let count = |text: &str| body.matches(text).count();
            assert!(body.starts_with("<!DOCTYPE html><html lang=\"en\">"), "{link}");
            assert_eq!((count("<h1>"), count("<main "), count("<title>")), (1, 1, 1), "{link}: {body}");
            assert!(body.contains("<a class=\"skip\" href=\"#main\">"), "{link}");
            assert_eq!(count("<table"), count("<caption>"), "{link}");
            assert_eq!(count("<th "), count("<th scope="), "{link}");
            // No script or style stands in a page, and nothing comes from elsewhere.
            assert_eq!(count("<script"), count("<script src=\"/assets/"), "{link}");
            for forbidden in ["<style", " style=\"", " onclick", "javascript:", "hx-on", "hx-vals", "src=\"http"] {
                assert!(!body.contains(forbidden), "{link}: {forbidden}");
            }
            // Every form goes here, and one that changes something holds the session's secret.
            for form in body.split("<form ").skip(1) {
                let form = form.split("</form>").next().expect("an end");
                assert!(form.contains("action=\"/"), "{link}: {form}");
                assert!(form.contains("method=\"get\"") != form.contains("name=\"csrf\""), "{link}: {form}");
            }
            // Every field has a name that a screen reader reads.
            for field in body.split("<input ").skip(1).chain(body.split("<select ").skip(1)) {
                let field = field.split('>').next().expect("an end");
                let id = field.split("id=\"").nth(1).and_then(|rest| rest.split('"').next());
                let is_named = id.is_some_and(|id| body.contains(&format!("<label for=\"{id}\">")));
                let is_inside = field.contains("type=\"checkbox\"");
                assert!(is_named || is_inside || field.contains("type=\"hidden\""), "{link}: {field}");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_wrote_is_shown_and_does_nothing() {
    each_database(async |store, url| {
        fill(&store).await;
        let name = "<script>alert(1)</script>\u{202e}\" onclick=\"x".to_owned();
        let evil = Artist { name, tenant: ours(), ..artist(1) };
        store.artists_save_from(&Scope::all_tenants(), Provenance::Sync, &[evil], now()).await.unwrap();
        let answering = Answering::on(url).await;
        let browser = Browser::of(&answering, Role::Admin, None).await;
        let mut shown = 0;
        for (link, page) in browser.walk().await {
            assert!(!page.body.contains("<script>alert"), "{link}: {}", page.body);
            assert!(!page.body.contains("\" onclick=\"x"), "{link}: {}", page.body);
            assert!(!page.body.contains('\u{202e}'), "{link}: {}", page.body);
            shown += usize::from(page.body.contains("&lt;script&gt;alert(1)&lt;/script&gt;\u{fffd}"));
        }
        // The list of artists, the artist's own page, and how its accounts ended.
        assert!(shown >= 3, "{shown}");
        let echoed = browser.get("/audit?action=%22%3E%3Cscript%3Ealert(1)%3C/script%3E").await;
        assert_eq!(echoed.status, 200);
        assert!(!echoed.body.contains("<script>alert"), "{}", echoed.body);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_page_of_a_service_shows_a_secret() {
    each_database(async |_, url| {
        let more = format!(
            "[secrets]\nkey = \"{KEY}\"\n[sync]\nurl = \"postgres://someone:{PASSWORD}@127.0.0.1:1/artists\"\n"
        );
        let place = Place::new(url, &more);
        let serving = place.serve(&[]).await;
        let (_, token, _) = place.run(&["tokens", "create", "--role", "admin"]).await;
        let browser = Browser::with(&serving.address, token.trim()).await;
        let seen = browser.walk().await;
        assert!(seen.contains_key("/settings") && seen["/settings"].body.contains("secrets.key"), "{:?}", seen.keys());
        let secret = token.trim().rsplit_once('_').expect("a secret").1;
        for (link, page) in &seen {
            for canary in [KEY, "canary-canary", PASSWORD, secret] {
                assert!(!page.body.contains(canary) && !page.head.contains(canary), "{link}: {}", page.body);
            }
        }
        assert!(!serving.log().contains(secret));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_pages_may_be_kept_for_ever() {
    each_database(async |_, url| {
        let answering = Answering::on(url).await;
        let stranger = Browser::new(&answering.address);
        let page = stranger.get("/login").await.body;
        let sources = page.split(" src=\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()));
        let files: Vec<String> = sources.chain(links(&page)).filter(|path| path.starts_with("/assets/")).collect();
        assert_eq!(files.len(), 6, "{files:?}");
        for path in files {
            let file = stranger.get(&path).await;
            assert_eq!(file.status, 200, "{path}");
            assert_eq!(file.header("cache-control"), Some("public, max-age=31536000, immutable"), "{path}");
            assert_eq!(file.header("x-content-type-options"), Some("nosniff"), "{path}");
            let kind = file.header("content-type").expect("a type");
            assert_eq!(kind.starts_with("text/javascript"), path.ends_with(".js"), "{path}: {kind}");
            let digest = backline_model::Digest::of(file.body.as_bytes()).short();
            assert!(path.contains(&digest), "{path} is not what it says");
        }
        let gone = stranger.get("/assets/app.000000000000.js").await;
        assert!(gone.status == 404 && gone.body.contains("no such endpoint"), "{}", gone.body);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artists_page_has_its_numbers_as_chart_table_and_csv() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let tenant: Option<Tenant> = Some(ours());
        let viewer = Browser::of(&answering, Role::Viewer, tenant).await;
        let path = format!("/artists/{}", artist(1).id);
        let page = viewer.get(&path).await.body;
        assert!(page.contains("data-chart=\"{") && page.contains("&quot;label&quot;:&quot;followers&quot;"), "{page}");
        assert!(page.contains("<caption>followers, day by day</caption>"), "{page}");
        assert!(page.contains("<td data-label=\"Value\">100</td>"), "{page}");
        assert!(page.contains("the platform does not offer it"), "{page}");
        let table = viewer.get(&format!("{path}/metrics.csv?days=90")).await;
        assert!(table.header("content-type").is_some_and(|kind| kind.starts_with("text/csv")), "{}", table.head);
        assert!(table.header("content-disposition").is_some_and(|how| how.starts_with("attachment; ")));
        assert!(table.body.starts_with("artist_id,account_id,") && table.body.contains(",followers,100,,"));
        assert_eq!(viewer.get(&format!("{path}?days=7000")).await.status, 400);
        assert_eq!(viewer.get("/artists/x").await.status, 404);
        // One that runs asks for itself again, and needs no script to be read.
        let running = viewer.get(&format!("/runs/{}", run(3).id)).await.body;
        assert!(running.contains("hx-trigger=\"every 3s\"") && running.contains("<noscript>"), "{running}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_list_goes_on_where_it_was_cut() {
    each_database(async |store, url| {
        for n in 1..=60 {
            create_run(&store, &run(n)).await;
        }
        let answering = Answering::on(url).await;
        let viewer = Browser::of(&answering, Role::Viewer, None).await;
        let runs = |page: &str| -> BTreeSet<String> {
            links(page).into_iter().filter(|link| link.starts_with("/runs/")).collect()
        };
        let first = viewer.get("/runs").await.body;
        let next = links(&first).into_iter().find(|link| link.starts_with("/runs?after=")).expect("a link");
        let second = viewer.get(&next).await;
        assert_eq!(second.status, 200, "{next}: {}", second.body);
        let (one, other) = (runs(&first), runs(&second.body));
        assert_eq!((one.len(), other.len()), (50, 10), "{one:?} {other:?}");
        assert!(one.is_disjoint(&other) && !second.body.contains("rel=\"next\""), "{}", second.body);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_is_added_shown_sent_and_removed_by_forms() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let admin = Browser::of(&answering, Role::Admin, None).await;
        let theirs = theirs().to_string();
        let fields = |hour: &'static str| {
            [
                ("name", "north"),
                ("channel", "desk"),
                ("tenant", theirs.as_str()),
                ("every", "day"),
                ("hour", hour),
                ("timezone", "Europe/Berlin"),
                ("quiet", ""),
            ]
        };
        let refused = admin.act("/digests", &fields("24")).await;
        assert_eq!(refused.status, 409, "{}", refused.body);
        assert!(refused.body.contains("24 is no hour of a day"), "{}", refused.body);
        assert!(refused.body.contains("value=\"north\"") && refused.body.contains("value=\"Europe/Berlin\""));
        assert_eq!(admin.act("/digests", &fields("noon")).await.status, 400);
        let added = admin.act("/digests", &fields("9")).await;
        assert_eq!(added.goes_to(), Some("/digests"), "{}", added.body);
        let list = admin.get("/digests").await.body;
        assert!(list.contains("The digest north is due at 2026-11-23 08:00 UTC."), "{list}");
        assert!(links(&list).contains(&"/digests/north".to_owned()), "{list}");
        let shown = admin.get("/digests/north").await.body;
        assert!(shown.contains("<pre>Daily digest of theirs, 22 November 2026: "), "{shown}");
        assert_eq!(admin.get("/digests/nothing").await.status, 404);

        let operator = Browser::of(&answering, Role::Operator, None).await;
        assert!(!operator.get("/digests").await.body.contains("Add a digest"));
        assert_eq!(operator.act("/digests/north/send", &[]).await.goes_to(), Some("/digests"));
        assert_eq!(operator.act("/digests/north/remove", &[]).await.status, 403);
        assert_eq!(admin.act("/digests/north/remove", &[]).await.goes_to(), Some("/digests"));
        assert_eq!(admin.act("/digests/north/send", &[]).await.status, 404);
    })
    .await;
}
