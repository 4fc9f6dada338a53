//! Hosts are killed while clients follow their events: no event is lost, doubled or out of order.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use backline::pipeline::{NewToken, Tokens};
use backline_model::Role;
use backline_store::{EventCursor, Scope};
use rand::RngExt as _;
use serde_json::Value as Json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::played::played;
use super::world::{WAIT_MAX, World, dice, number};
use crate::support::fleet::{HostProcess, until};

/// Artists that join before each kill.
const GROUP: u32 = 4;

/// Kills of an ordinary run.
const KILLS: u32 = 3;

/// Hosts, as many as clients: each client begins at another one.
const HOSTS: usize = 2;

/// Least time between two connections of a client.
const CONNECTS_EVERY: Duration = Duration::from_millis(50);

/// An event as a client and the database name it: by its cursor, which is the id in the stream, and by its own id.
type Named = (String, String);

/// What a client has heard so far.
#[derive(Default)]
struct Heard {
    /// The host that it follows, while it does.
    host: Option<usize>,
    events: Vec<Named>,
    /// The last id, of an event or of none: what it goes on after.
    last_id: Option<String>,
    /// Streams that have begun.
    streams: u32,
}

impl Heard {
    /// Takes a whole piece of a stream, as a browser does: one without data is no event, but its id counts.
    fn take(&mut self, piece: &str) {
        let field = |name: &str| piece.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let Some(id) = field("id") else { return };
        self.last_id = Some(id.to_owned());
        if let Some(data) = field("data") {
            let event: Json = serde_json::from_str(data).expect("an event is JSON");
            self.events.push((id.to_owned(), event["id"].as_str().expect("it has an id").to_owned()));
        }
    }
}

/// A client that follows one host until its stream ends, and then the other one.
#[derive(Clone)]
struct Client {
    /// Where the hosts listen, or did before they were killed.
    hosts: Arc<Mutex<Vec<String>>>,
    token: String,
    heard: Arc<Mutex<Heard>>,
}

impl Client {
    fn read<T>(&self, read: impl FnOnce(&mut Heard) -> T) -> T {
        read(&mut self.heard.lock().expect("not poisoned"))
    }

    async fn follow(self, mut host: usize) {
        let mut again = tokio::time::interval(CONNECTS_EVERY);
        loop {
            again.tick().await;
            // An error is a host that is dead, or that dies.
            let _ = self.listen(host).await;
            self.read(|heard| heard.host = None);
            host = (host + 1) % HOSTS;
        }
    }

    /// Hears one stream to its end.
    async fn listen(&self, host: usize) -> std::io::Result<()> {
        let address = self.hosts.lock().expect("not poisoned")[host].clone();
        let last_id = self.read(|heard| heard.last_id.clone());
        let last_id = last_id.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        let request = format!(
            "GET /v1/events/stream?after=0 HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {}\r\n{last_id}\r\n",
            self.token
        );
        let mut stream = BufReader::new(TcpStream::connect(address).await?);
        stream.write_all(request.as_bytes()).await?;
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        // One that can't answer for the moment says so with a 5xx; an error of the client's would be one of this test.
        assert!(!line.starts_with("HTTP/1.1 4"), "the client is refused: {line}");
        if !line.starts_with("HTTP/1.1 200 ") {
            return Ok(());
        }
        while !line.trim().is_empty() {
            line.clear();
            stream.read_line(&mut line).await?;
        }
        self.read(|heard| {
            heard.host = Some(host);
            heard.streams += 1;
        });
        let mut text = String::new();
        loop {
            // Chunks, each after its length, with a line break behind it.
            line.clear();
            stream.read_line(&mut line).await?;
            let length = usize::from_str_radix(line.trim(), 16).unwrap_or(0);
            if length == 0 {
                return Ok(());
            }
            let mut chunk = vec![0; length + 2];
            stream.read_exact(&mut chunk).await?;
            text.push_str(&String::from_utf8_lossy(&chunk[..length]));
            while let Some(end) = text.find("\n\n") {
                let piece: String = text.drain(..end + 2).collect();
                self.read(|heard| heard.take(&piece));
            }
        }
    }
}

/// All events of the database, in their order.
async fn stored(world: &World) -> Vec<Named> {
    let store = world.stage.host.store();
    let events = store.events_list(&Scope::all_tenants(), EventCursor::default(), 100_000).await;
    let events = events.expect("events are read");
    events.into_iter().map(|(cursor, event)| (cursor.to_string(), event.id.to_string())).collect()
}

fn name_of(host: usize) -> String {
    format!("host-{host}")
}

fn address_of(host: &HostProcess) -> String {
    host.address.strip_prefix("http://").expect("a URL").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_follow_killed_hosts_hear_each_event_once_and_in_order() {
    let mut dice = dice();
    let world = World::new(KILLS + 1, GROUP, |_| {}).await;
    let tokens = Tokens::new(world.stage.host.store().clone(), world.stage.host.clock().clone());
    let new = NewToken { name: "follows".to_owned(), role: Role::Viewer, tenant: None, expires_at: None };
    let (_, token) = tokens.create(new).await.expect("a token");
    // The server still has connections of a dead host when the next one starts.
    let fleet = world.fleet(|config| config.database.connections_max = 6);
    let mut processes: Vec<HostProcess> = (0..HOSTS).map(|host| fleet.start(&name_of(host))).collect();
    let addresses: Vec<String> = processes.iter().map(address_of).collect();
    let hosts = Arc::new(Mutex::new(addresses));
    let mut following = JoinSet::new();
    let clients: Vec<Client> = (0..HOSTS)
        .map(|host| {
            let token = token.expose().to_owned();
            let client = Client { hosts: Arc::clone(&hosts), token, heard: Arc::default() };
            following.spawn(client.clone().follow(host));
            client
        })
        .collect();
    let mut database = world.database().await;
    for kill in 1..=KILLS {
        // While some of a group is stored, and clients have not heard of all of it.
        let before = number(&mut database, "SELECT COUNT(*) FROM metrics").await;
        let share = dice.random_range(1..world.accounts(1));
        world.join(kill - 1).await;
        until(WAIT_MAX, "so many are collected", async || {
            let rows = number(&mut database, "SELECT COUNT(*) FROM metrics").await;
            (rows >= before + share).then_some(())
        })
        .await;
        let client = &clients[dice.random_range(0..clients.len())];
        let victim = until(WAIT_MAX, "a client follows a host", async || client.read(|heard| heard.host)).await;
        // The last time there is no host for a while.
        let is_killed = |host: usize| host == victim || kill == KILLS;
        for host in (0..HOSTS).filter(|host| is_killed(*host)) {
            processes[host].kill();
        }
        for host in (0..HOSTS).filter(|host| is_killed(*host)) {
            processes[host] = fleet.start(&name_of(host));
            hosts.lock().expect("not poisoned")[host] = address_of(&processes[host]);
        }
    }
    world.join(KILLS).await;
    world.collected(KILLS + 1).await;
    let (events, all_heard) = until(WAIT_MAX, "both clients have heard the last event", async || {
        if let Some(ended) = following.try_join_next() {
            panic!("a client gave up: {ended:?}");
        }
        // Before the database is asked: a client may hear more in the meantime.
        let all_heard: Vec<Vec<Named>> =
            clients.iter().map(|client| client.read(|heard| heard.events.clone())).collect();
        let events = stored(&world).await;
        all_heard.iter().all(|heard| heard.last() == events.last()).then_some((events, all_heard))
    })
    .await;
    for (client, heard) in clients.iter().zip(&all_heard) {
        assert_eq!(heard, &events, "each event once, in order, after {} streams", client.read(|heard| heard.streams));
    }
    let streams: u32 = clients.iter().map(|client| client.read(|heard| heard.streams)).sum();
    assert!(streams >= KILLS + 2, "{streams} streams: each kill ended one");
    let heard = events.len();
    played(format!("{HOSTS} clients heard {heard} events each, over {streams} streams in all and {KILLS} kills"));
    let collected = number(&mut database, "SELECT COUNT(*) FROM events WHERE type = 'metrics.collected'").await;
    assert_eq!(collected, world.accounts(KILLS + 1), "the events are those of the work that was done");
}
