//! Tests of the contract 1.1.0: answers that name their accounts, past dates, and many requests at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::Path;
use tokio::net::TcpListener;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::*;
use backline_model::fetch::FetchError;

/// The day that ends so many days before the window does.
fn day(back: i64) -> Window {
    let until = noon() - chrono::Duration::days(back);
    Window { since: until - chrono::Duration::days(1), until }
}

async fn fetch_with(connector: &Connector, ids: &[&str], history: &[Window]) -> Result<Vec<Fetched>, CallError> {
    let context = FetchContext { history: history.to_vec(), ..context() };
    let deadline = within(Duration::from_secs(60));
    let call = connector.fetch(Session::without_capabilities(), accounts(ids), context, deadline).await?;
    let fetched = call.value.accounts.into_iter().map(|fetched| fetched.expect("a document"));
    Ok(fetched.map(|Fetched { body, past, .. }| Fetched { body, past, state: None }).collect())
}

fn body(platform_id: &str, window: Window) -> String {
    format!("{{\"platform_id\":\"{platform_id}\",\"until\":{}}}", window.until.timestamp())
}

#[tokio::test]
async fn answers_are_given_to_the_accounts_that_they_name() {
    let connector = load(&sandbox(|_| {}), "named").await;
    assert_eq!((connector.wit_version(), connector.takes_history()), ("1.1.0", true));
    let name = connector.check(Session::without_capabilities(), account("abc")).await.expect("an answer");
    assert_eq!(name, Ok("abc".to_owned()));
    for ids in [["in order", "b", "c"], ["backwards", "b", "c"]] {
        let bodies: Vec<String> =
            fetch_with(&connector, &ids, &[]).await.expect("no breach").into_iter().map(|one| one.body).collect();
        assert_eq!(bodies, ids.map(|id| body(id, window())));
    }
    let snapshots = connector.normalize(vec![document(&body("a", window()))]).await.expect("an answer").value;
    let metric = &snapshots[0].as_ref().expect("a snapshot").metrics[0];
    assert_eq!(metric.value, Ok(Value::Integer(noon().timestamp() / 86_400)));
    assert!(!load(&sandbox(|_| {}), "well_behaved").await.takes_history());
}

#[tokio::test]
async fn an_account_that_is_named_twice_not_at_all_or_is_of_another_batch_is_a_breach() {
    let connector = load(&sandbox(|_| {}), "named").await;
    for (does, said) in [
        ("twice", "fetch answered twice for account "),
        ("omits", "fetch did not answer for account "),
        ("foreign", "fetch answered for an account that is not of the batch: the account of another batch"),
    ] {
        let error = fetch_with(&connector, &[does, "b"], &[]).await.expect_err("a breach");
        assert!(matches!(&error, CallError::Contract(why) if why.contains(said)), "{does}: {error}");
        assert!(error.may_be_an_items_fault(), "the halves of the batch are asked alone");
    }
    // Alone there is nothing to mix up, and each is told from the others by its id.
    assert!(fetch_with(&connector, &["b"], &[]).await.is_ok());
}

#[tokio::test]
async fn past_dates_come_with_the_call_that_asks_for_them() {
    let connector = load(&sandbox(|_| {}), "named").await;
    let asked = [day(3), day(2), day(1)];
    let past = |id: &str, windows: &[Window]| {
        windows.iter().map(|window| PastDocument { window: *window, body: body(id, *window) }).collect::<Vec<_>>()
    };
    for (does, served) in
        [("serves", &asked[..]), ("leaves a date out", &asked[1..]), ("fails for a date", &asked[1..])]
    {
        let fetched = fetch_with(&connector, &[does, "b"], &asked).await.expect("no breach");
        assert_eq!(fetched[0].body, body(does, window()));
        assert_eq!(fetched[0].past, past(does, served), "{does}");
        assert_eq!(fetched[1].past, past("b", &asked));
    }
    for (does, said) in [("foreign date", "a past date that was not asked for"), ("date twice", "same past date twice")]
    {
        let error = fetch_with(&connector, &[does], &asked).await.expect_err("a breach");
        assert!(matches!(&error, CallError::Contract(why) if why.contains(said)), "{does}: {error}");
    }
    // The first version is not told of them.
    let first = load(&sandbox(|_| {}), "well_behaved").await;
    assert!(fetch_with(&first, &["a"], &asked).await.expect("an answer")[0].past.is_empty());
}

#[tokio::test]
async fn what_past_dates_hold_counts_as_output() {
    let connector = load(&sandbox(|config| config.output_bytes_max = 400), "named").await;
    assert!(fetch_with(&connector, &["a"], &[day(1)]).await.is_ok());
    let many: Vec<Window> = (1..10).rev().map(day).collect();
    let error = fetch_with(&connector, &["a"], &many).await.expect_err("too much");
    assert_eq!(error, CallError::LimitExceeded { what: "output_bytes_max", limit: 400 });
}

/// Answers with the artist's number once this many requests wait, so that they must have been sent together.
async fn together(waiting: usize) -> (String, Arc<AtomicUsize>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    let (barrier, asked) = (Arc::new(Barrier::new(waiting)), Arc::new(AtomicUsize::new(0)));
    let answer = {
        let asked = Arc::clone(&asked);
        move |Path(number): Path<String>| async move {
            asked.fetch_add(1, Ordering::SeqCst);
            barrier.wait().await;
            number
        }
    };
    let router = Router::new().route("/artists/{number}", axum::routing::get(answer));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await.expect("serving") });
    (base, asked, tasks)
}

async fn sends(requests: usize, server: &str, change: impl FnOnce(&mut GatewayConfig)) -> Vec<serde_json::Value> {
    let connector = load(&sandbox(|_| {}), "named").await;
    let (_gateway, session) = session(&connector, server, change);
    let deadline = within(Duration::from_secs(60));
    let accounts = accounts(&[&format!("sends {requests}")]);
    let call = connector.fetch(session, accounts, context(), deadline).await.expect("an answer");
    serde_json::from_str(&call.value.accounts[0].as_ref().expect("a document").body).expect("JSON")
}

#[tokio::test]
async fn requests_of_one_call_are_sent_together_and_answered_in_their_order() {
    let (base, asked, _tasks) = together(8).await;
    let answers = sends(64, &base, |config| config.sends_in_flight_max = 8).await;
    let expected: Vec<serde_json::Value> = (0..64).map(serde_json::Value::from).collect();
    assert_eq!(answers, expected);
    assert_eq!(asked.load(Ordering::SeqCst), 64);
}

#[tokio::test]
async fn what_is_beyond_64_requests_is_denied_by_itself() {
    let (base, asked, _tasks) = together(1).await;
    let answers = sends(67, &base, |_| {}).await;
    assert_eq!(answers[..64], (0..64).map(serde_json::Value::from).collect::<Vec<_>>());
    let denied = serde_json::json!("denied: send-all takes at most 64 requests");
    assert!(answers.len() == 67 && answers[64..].iter().all(|answer| *answer == denied), "{answers:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 64, "none of them was sent");
}

#[tokio::test]
async fn requests_that_are_sent_together_use_the_batchs_allowance_one_by_one() {
    let (base, asked, _tasks) = together(1).await;
    let answers = sends(20, &base, |config| config.requests_max = 5).await;
    let is_denied = |answer: &&serde_json::Value| answer.as_str().is_some_and(|said| said.contains("requests_max"));
    assert_eq!(answers.iter().filter(is_denied).count(), 15);
    assert_eq!(asked.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn a_connector_of_the_sdk_serves_past_dates_beside_its_documents() {
    let (base, asked, _tasks) = together(2).await;
    let connector = load(&sandbox(|_| {}), "sdk_next").await;
    assert_eq!((connector.wit_version(), connector.takes_history()), ("1.1.0", true));
    let (_gateway, session) = session(&connector, &base, |_| {});
    let context = FetchContext { history: vec![day(2), day(1)], ..context() };
    let deadline = within(Duration::from_secs(60));
    let call = connector.fetch(session, accounts(&["a", "b"]), context, deadline).await.expect("an answer");
    assert_eq!(asked.load(Ordering::SeqCst), 2, "each waited for the other");
    let body =
        |id: &str, window: Window| serde_json::json!({ "platform_id": id, "followers": window.until.timestamp() });
    let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    for (id, fetched) in ["a", "b"].into_iter().zip(call.value.accounts) {
        let fetched = fetched.expect("a document");
        assert_eq!(parsed(&fetched.body), body(id, window()));
        let past: Vec<_> = fetched.past.into_iter().map(|past| (past.window, parsed(&past.body))).collect();
        assert_eq!(past, [day(2), day(1)].map(|window| (window, body(id, window))));
    }
}

#[tokio::test]
async fn a_connector_without_async_code_asks_for_all_accounts_at_once() {
    let (base, asked, _tasks) = together(3).await;
    let connector = load(&sandbox(|_| {}), "synchronous_next").await;
    assert_eq!(connector.wit_version(), "1.1.0");
    let (_gateway, session) = session(&connector, &base, |_| {});
    let deadline = within(Duration::from_secs(60));
    let call = connector.fetch(session, accounts(&["7", "8", "9"]), context(), deadline).await.expect("an answer");
    let bodies: Vec<Result<String, FetchError>> =
        call.value.accounts.into_iter().map(|fetched| fetched.map(|fetched| fetched.body)).collect();
    assert_eq!(bodies, ["7", "8", "9"].map(|number| Ok(number.to_owned())));
    assert_eq!(asked.load(Ordering::SeqCst), 3, "each waited for the others");
}
