//! Tests of a connector's requests in progress, seen from a server.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::*;

/// Holds every request for `/hold` until its client disconnects, and responds to `/go` once `go_after` are held.
struct Holding {
    base: String,
    held: watch::Receiver<usize>,
    hung_up: Arc<Semaphore>,
    _tasks: JoinSet<()>,
}

impl Holding {
    async fn start(go_after: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let (count, held) = watch::channel(0);
        let hung_up = Arc::new(Semaphore::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn({
            let hung_up = Arc::clone(&hung_up);
            async move {
                let mut connections = JoinSet::new();
                loop {
                    let (stream, _) = listener.accept().await.expect("a connection");
                    connections.spawn(serve(stream, count.clone(), go_after, Arc::clone(&hung_up)));
                }
            }
        });
        Self { base, held, hung_up, _tasks: tasks }
    }

    /// Waits until this number of clients has disconnected.
    async fn all_hung_up(&self, clients: u32) {
        let waited = tokio::time::timeout(Duration::from_secs(120), self.hung_up.acquire_many(clients)).await;
        waited.expect("every request is cancelled").expect("never closed").forget();
    }
}

async fn serve(mut stream: TcpStream, held: watch::Sender<usize>, go_after: usize, hung_up: Arc<Semaphore>) {
    let mut head = [0; 4096];
    let read = stream.read(&mut head).await.expect("a request");
    if head[..read].starts_with(b"GET /hold") {
        held.send_modify(|held| *held += 1);
        while stream.read(&mut head).await.is_ok_and(|read| read > 0) {}
        hung_up.add_permits(1);
    } else {
        held.subscribe().wait_for(|held| *held >= go_after).await.expect("a sender");
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.expect("an answer");
    }
}

#[tokio::test]
async fn requests_in_progress_when_a_call_returns_are_cancelled() {
    let server = Holding::start(4).await;
    let connector = load(&sandbox(|_| {}), "drops_sends").await;
    let (_gateway, session) = session(&connector, &server.base, |_| {});
    let deadline = within(Duration::from_secs(60));
    let call = connector.fetch(session, accounts(&["a"]), context(), deadline).await.expect("an answer");
    assert_eq!(call.value.accounts.len(), 1);
    server.all_hung_up(4).await;
}

#[tokio::test]
async fn requests_in_progress_at_the_deadline_are_cancelled() {
    let server = Holding::start(usize::MAX).await;
    let connector = load(&sandbox(|_| {}), "drops_sends").await;
    let (_gateway, session) = session(&connector, &server.base, |_| {});
    // Long enough for all four requests to arrive on a loaded machine.
    let deadline = within(Duration::from_secs(5));
    let ended = connector.fetch(session, accounts(&["a"]), context(), deadline).await;
    assert!(matches!(ended, Err(CallError::TimedOut { .. })), "{ended:?}");
    assert_eq!(*server.held.borrow(), 4);
    server.all_hung_up(4).await;
}

/// Responds to every request, and records the maximum number of requests at one time.
async fn counting() -> (String, Arc<AtomicUsize>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let router = Router::new().fallback({
        let most = Arc::clone(&most);
        move || async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            now.fetch_sub(1, Ordering::SeqCst);
            "{}"
        }
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await.expect("serving") });
    (base, most, tasks)
}

async fn five_thousand(sandbox: &Sandbox) -> (Result<serde_json::Value, CallError>, usize) {
    let (base, most, _tasks) = counting().await;
    let connector = load(sandbox, "many_sends").await;
    let (_gateway, session) = session(&connector, &base, |config| config.sends_in_flight_max = 8);
    let deadline = within(Duration::from_secs(300));
    let call = connector.fetch(session, accounts(&["a"]), context(), deadline).await;
    let body = call.map(|call| {
        let body = &call.value.accounts[0].as_ref().expect("a document").body;
        serde_json::from_str(body).expect("JSON")
    });
    (body, most.load(Ordering::SeqCst))
}

#[tokio::test]
async fn five_thousand_sends_at_once_are_sent_a_few_at_a_time() {
    let (body, most) = five_thousand(&sandbox(|_| {})).await;
    assert_eq!(body, Ok(serde_json::json!({ "answered": 5_000, "denied": 0 })));
    assert!((1..=8).contains(&most), "{most}");
}

#[tokio::test]
async fn waiting_sends_may_not_fill_the_hosts_memory() {
    // "https://api.example.com/" has 24 bytes, so a hundred requests fit.
    let (body, _) = five_thousand(&sandbox(|config| config.requests_bytes_max = 2_400)).await;
    assert_eq!(body, Ok(serde_json::json!({ "answered": 100, "denied": 4_900 })));
}

#[tokio::test]
async fn waiting_sends_may_not_fill_the_hosts_tables() {
    let (body, _) = five_thousand(&sandbox(|config| config.resources_max = 1_000)).await;
    assert_eq!(body, Err(CallError::LimitExceeded { what: "resources_max", limit: 1_000 }));
}

#[tokio::test]
async fn a_connector_without_async_code_works_once_it_is_packed() {
    let app = Router::new()
        .route("/artists/a", axum::routing::get(|| async { r#"{"fans":1}"# }))
        .route("/artists/b", axum::routing::get(|| async { r#"{"fans":22}"# }));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, app).await });

    let connector = load(&sandbox(|_| {}), "synchronous").await;
    let (_gateway, session) = session(&connector, &base, |_| {});
    let name = connector.check(session.clone(), account("a")).await.expect("an answer");
    assert_eq!(name, Ok("a".to_owned()));
    let deadline = within(Duration::from_secs(60));
    let call = connector.fetch(session, accounts(&["a", "none", "b"]), context(), deadline).await.expect("an answer");
    let bodies: Vec<_> = call.value.accounts.into_iter().map(|fetched| fetched.map(|fetched| fetched.body)).collect();
    assert_eq!(bodies[0].as_deref(), Ok(r#"{"fans":1}"#));
    assert_eq!(bodies[1], Err(backline_model::fetch::FetchError::NotFound));
    assert_eq!(bodies[2].as_deref(), Ok(r#"{"fans":22}"#));
    assert_eq!(call.usage.log_lines.len(), 3, "a plain function that waits does not block the host");
    let snapshots = connector.normalize(vec![document("12345")]).await.expect("an answer").value;
    assert_eq!(snapshots[0].as_ref().expect("a snapshot").metrics[0].value, Ok(Value::Integer(5)));
}
