//! Events by their cursors, and the stream of them.

use backline_model::{Event, Role};
use backline_store::Scope;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Answering, Caller, WAIT_MAX, bearer};
use crate::store::fixtures::{artist, event};
use crate::store::scope::{fill, marks, ours};
use crate::support::database::each_database;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_followed_by_their_cursors() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let viewer = answering.caller(Role::Viewer, None).await;
        let all = viewer.get("/v1/events").await.json()["data"].as_array().expect("events").clone();
        assert!(all.len() >= 6, "{all:?}");
        let cursor = |event: &Json| event["cursor"].as_i64().expect("a number");
        assert!(all.is_sorted_by_key(cursor), "{all:?}");
        let (read, rest) = all.split_at(2);
        let after = viewer.get(&format!("/v1/events?after={}", cursor(&read[1]))).await.json();
        assert_eq!(after["data"], json!(rest));
        let none = viewer.get(&format!("/v1/events?after={}", cursor(&all[all.len() - 1]))).await.json();
        assert_eq!(none, json!({ "data": [], "has_more": false, "next": null }));
        // The pages of what came after continue that, and nothing before.
        let page = viewer.get(&format!("/v1/events?after={}&limit=1", cursor(&read[1]))).await;
        let next = page.json()["next"].as_str().expect("another page").to_owned();
        let next = viewer.get(&format!("/v1/events?after={}&limit=1&cursor={next}", cursor(&read[1]))).await.json();
        assert_eq!(next["data"], json!([rest[1]]));
        let until = store.event_watermark_get().await.unwrap();
        assert_eq!(until.to_string(), cursor(&all[all.len() - 1]).to_string());
    })
    .await;
}

/// A stream of events that is being read.
pub(super) struct Following {
    stream: TcpStream,
    pub(super) read: String,
}

impl Following {
    pub(super) async fn begin(caller: &Caller<'_>, path: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(&caller.answering.address).await.expect("it listens");
        let token = bearer(caller.token.expose());
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n{token}{headers}\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut following = Self { stream, read: String::new() };
        following.until("retry: ").await;
        assert!(following.read.to_lowercase().contains("content-type: text/event-stream"), "{}", following.read);
        following
    }

    /// Reads until a text has come.
    pub(super) async fn until(&mut self, text: &str) {
        let mut buffer = [0; 4096];
        // For all reads together: a stream that has nothing to say says so now and then.
        let end = tokio::time::Instant::now() + WAIT_MAX;
        while !self.read.contains(text) {
            let read = tokio::time::timeout_at(end, self.stream.read(&mut buffer)).await;
            let read = read.unwrap_or_else(|_| panic!("no '{text}': {}", self.read)).expect("readable");
            assert!(read > 0, "it ended without '{text}': {}", self.read);
            self.read.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    }

    /// Ids of the events so far. The id that a stream begins with is none of an event that it tells.
    pub(super) fn ids(&self) -> Vec<i64> {
        let pieces = self.read.split("\n\n").filter(|piece| piece.contains("event: "));
        let id_of = |piece: &str| piece.lines().find_map(|line| line.strip_prefix("id: ")?.trim().parse::<i64>().ok());
        pieces.filter_map(id_of).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_on_after_the_last_event_and_tells_a_tenant_its_own() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let refused = answering.get("/v1/events/stream", "").await;
        assert_eq!(refused.status, 401);
        let ours = answering.caller(Role::Viewer, Some(ours())).await;
        let all = answering.caller(Role::Viewer, None).await;
        let cursors = async |caller: &Caller<'_>| -> Vec<i64> {
            let events = caller.get("/v1/events").await.json()["data"].as_array().expect("events").clone();
            events.iter().map(|event| event["cursor"].as_i64().expect("a number")).collect()
        };
        let (own, every) = (cursors(&ours).await, cursors(&all).await);
        assert!(!own.is_empty() && own.len() < every.len(), "{own:?} of {every:?}");

        let mut first = Following::begin(&ours, "/v1/events/stream?after=0", "").await;
        first.until(&format!("id: {}\nevent: ", own[own.len() - 1])).await;
        assert_eq!(first.ids(), own);
        let mut latest = Following::begin(&all, "/v1/events/stream", "").await;
        let mut silent = Following::begin(&all, "/v1/events/stream", "").await;
        silent.until(&format!("\nid: {}\n\n", every[every.len() - 1])).await;
        assert_eq!(silent.ids(), Vec::<i64>::new());
        drop(silent);
        let new = Event { artist_id: Some(artist(1).id), kind: "test.streamed".to_owned(), ..event(0x77, None) };
        let foreign = Event { artist_id: Some(artist(2).id), ..event(0x78, None) };
        store.events_write(&Scope::all_tenants(), &[foreign, new]).await.unwrap();
        first.until("event: test.streamed").await;
        latest.until("event: test.streamed").await;
        assert_eq!(first.ids().len(), own.len() + 1, "no other tenant's: {}", first.read);
        assert_eq!(latest.ids().len(), 2, "it began with what came next: {}", latest.read);
        for mark in marks() {
            assert!(!first.read.contains(&mark), "the stream tells of theirs ({mark}): {}", first.read);
        }
        drop(first);
        let header = format!("last-event-id: {}\r\n", own[own.len() - 1]);
        let mut again = Following::begin(&ours, "/v1/events/stream?after=0", &header).await;
        again.until("event: test.streamed").await;
        assert_eq!(again.ids().len(), 1, "what was read before does not come again: {}", again.read);
        // One that had heard of no event yet goes on from where it began.
        let header = format!("last-event-id: {}\r\n", every[every.len() - 1]);
        let mut later = Following::begin(&all, "/v1/events/stream", &header).await;
        later.until("event: test.streamed").await;
        assert_eq!(later.ids(), latest.ids(), "{}", later.read);
    })
    .await;
}
