//! Stands between a host and PostgreSQL: passes on, is slow, goes silent, loses commits, or stops at one message.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// When the server ends a connection that went silent: after the keepalives that hosts ask it for. The proxy answers
/// them itself, so it must do what they do.
const KEEPALIVES_END: Duration = Duration::from_secs(45);

/// What the connections of a proxy share.
#[derive(Clone, Copy, Debug)]
struct State {
    /// Changes when open connections are to end.
    cuts: u32,
    /// Changes when open connections are to go silent.
    silenced: u32,
    /// By how much each answer comes later.
    delay: Duration,
    /// Round trips asked for since the proxy was armed.
    asked: u64,
    /// The round trip at which everything stops, for good, and whether the server still gets it.
    stop: Option<(u64, bool)>,
    /// How many of the next commits are lost, and whether the server still gets them.
    lost_commits: (u32, bool),
}

impl State {
    /// Nothing is wrong.
    fn open(cuts: u32, silenced: u32) -> Self {
        Self { cuts, silenced, delay: Duration::ZERO, asked: 0, stop: None, lost_commits: (0, false) }
    }

    fn has_stopped(&self) -> bool {
        self.stop.is_some_and(|(at, _)| self.asked >= at)
    }
}

/// A proxy on a free port of this machine. Dropping it ends its connections.
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// A proxy to the server of a URL, open.
    pub async fn before(url: &str) -> Self {
        let url = url::Url::parse(url).expect("the server's URL is one");
        let server: Arc<str> = format!("{}:{}", url.host_str().expect("a host"), url.port().unwrap_or(5432)).into();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (state, _) = watch::channel(State::open(0, 0));
        let mut tasks = JoinSet::new();
        let shared = state.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(connection(client, Arc::clone(&server), shared.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, state, _tasks: tasks }
    }

    /// The same URL with the proxy in place of the server.
    pub fn url(&self, url: &str) -> String {
        let mut url = url::Url::parse(url).expect("the server's URL is one");
        url.set_host(Some("127.0.0.1")).expect("a host");
        url.set_port(Some(self.address.port())).expect("a port");
        url.to_string()
    }

    /// Silences the connections that are open. New ones work.
    pub fn silence(&self) {
        self.state.send_modify(|state| state.silenced += 1);
    }

    /// Lets each answer come later by so much, until what it returns is dropped.
    #[must_use]
    pub fn slow(&self, delay: Duration) -> Slow {
        self.state.send_modify(|state| state.delay = delay);
        Slow(self.state.clone())
    }

    /// Counts round trips from now on.
    pub fn count(&self) {
        self.state.send_modify(|state| (state.asked, state.stop) = (0, None));
    }

    /// The round trips asked for since then.
    pub fn counted(&self) -> u64 {
        self.state.borrow().asked
    }

    /// Waits until so many round trips were asked for.
    pub async fn reached(&self, round_trips: u64) {
        let enough = |state: &State| state.asked >= round_trips;
        self.state.subscribe().wait_for(enough).await.expect("the proxy lives");
    }

    /// Stops everything at a round trip from now on, counted from 1: nothing after it reaches the server or the host.
    /// The server gets that one too if `is_passed`, but its answer does not reach the host.
    pub fn stop_at(&self, round_trip: u64, is_passed: bool) {
        self.state.send_modify(|state| (state.asked, state.stop) = (0, Some((round_trip, is_passed))));
    }

    /// Waits until everything has stopped.
    pub async fn stopped(&self) {
        self.state.subscribe().wait_for(State::has_stopped).await.expect("the proxy lives");
    }

    /// Forgets everything, and ends what is open.
    pub fn reset(&self) {
        self.state.send_modify(|state| {
            *state = State::open(state.cuts + 1, state.silenced);
        });
    }

    /// Ends the connections of so many of the next commits. The server gets the commits too if `is_passed`, but its
    /// answers do not reach the host.
    pub fn lose_commits(&self, number: u32, is_passed: bool) {
        self.state.send_modify(|state| state.lost_commits = (number, is_passed));
    }
}

/// While it lives, the answers of a proxy come late.
pub struct Slow(watch::Sender<State>);

impl Drop for Slow {
    fn drop(&mut self) {
        self.0.send_modify(|state| state.delay = Duration::ZERO);
    }
}

async fn connection(client: TcpStream, server: Arc<str>, state: watch::Sender<State>) {
    let mut changes = state.subscribe();
    let (cuts, silenced) = {
        let now = changes.borrow();
        (now.cuts, now.silenced)
    };
    let is_cut = |state: &State| state.cuts != cuts;
    if is_cut(&state.borrow()) {
        return;
    }
    let ended = async {
        let Ok(mut upstream) = TcpStream::connect(&*server).await else { return };
        let mut client = client;
        let is_over = AtomicBool::new(false);
        {
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = upstream.split();
            tokio::select! {
                () = requests(from_client, to_server, &state, silenced, &is_over) => return,
                () = answers(from_server, to_client, state.subscribe(), silenced, &is_over) => return,
                () = given_up(state.subscribe(), silenced) => {}
            }
        }
        drop(upstream);
        // The host hears nothing of that either.
        std::future::pending().await
    };
    tokio::select! {
        () = ended => {}
        _ = changes.wait_for(is_cut) => {}
    }
}

/// Waits until the server takes the client of a silenced connection for dead.
async fn given_up(mut changes: watch::Receiver<State>, silenced: u32) {
    if changes.wait_for(|state| state.silenced != silenced).await.is_err() {
        return std::future::pending().await;
    }
    tokio::time::sleep_until(Instant::now() + KEEPALIVES_END).await;
}

/// What a host sends, message by message. `is_over` is set when it is to get no answer any more.
async fn requests(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    state: &watch::Sender<State>,
    silenced: u32,
    is_over: &AtomicBool,
) {
    let mut changes = state.subscribe();
    let (mut bytes, mut messages) = (Vec::new(), Messages::default());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        bytes.extend_from_slice(&buffer[..read]);
        while let Some(message) = messages.next(&mut bytes) {
            if !is_passed(state, messages.is_round_trip(&message)) {
                // Taken, and never answered: the host sees no error.
                return std::future::pending().await;
            }
            match messages.is_commit(&message).then(|| lost_commit(state)).flatten() {
                None => {}
                Some(true) => is_over.store(true, Ordering::Relaxed),
                Some(false) => return,
            }
            if heard(&mut changes, silenced, false).await.is_err() || to.write_all(&message).await.is_err() {
                return;
            }
        }
    }
}

/// Counts a message, and says whether the server gets it.
fn is_passed(state: &watch::Sender<State>, is_round_trip: bool) -> bool {
    let mut is_passed = true;
    state.send_modify(|state| {
        let had_stopped = state.has_stopped();
        state.asked += u64::from(is_round_trip);
        is_passed = !had_stopped && (!state.has_stopped() || state.stop.is_some_and(|(_, passed)| passed));
    });
    is_passed
}

/// Whether a commit is lost, and then whether the server gets it.
fn lost_commit(state: &watch::Sender<State>) -> Option<bool> {
    let mut lost = None;
    state.send_if_modified(|state| {
        let (left, is_passed) = state.lost_commits;
        if left > 0 {
            (state.lost_commits, lost) = ((left - 1, is_passed), Some(is_passed));
        }
        left > 0
    });
    lost
}

/// What the server answers.
async fn answers(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut changes: watch::Receiver<State>,
    silenced: u32,
    is_over: &AtomicBool,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let delay = changes.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep_until(Instant::now() + delay).await;
        }
        if heard(&mut changes, silenced, true).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// Waits where the connection was silenced, until it ends; for answers also while everything has stopped.
async fn heard(changes: &mut watch::Receiver<State>, silenced: u32, is_answer: bool) -> Result<(), ()> {
    let is_heard = |state: &State| state.silenced == silenced && !(is_answer && state.has_stopped());
    changes.wait_for(is_heard).await.map(drop).map_err(drop)
}

/// Cuts the messages of PostgreSQL's protocol out of what a host sends.
#[derive(Default)]
struct Messages {
    has_begun: bool,
}

impl Messages {
    /// The next whole message.
    fn next(&mut self, bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
        // The first one, and a request for encryption before it, have no type.
        let at = usize::from(self.has_begun);
        let length: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        let end = at + usize::try_from(u32::from_be_bytes(length)).ok()?;
        if bytes.len() < end {
            return None;
        }
        let rest = bytes.split_off(end);
        let message = std::mem::replace(bytes, rest);
        // `SSLRequest` has 8 bytes, and the real first message follows.
        self.has_begun |= message.len() > 8;
        Some(message)
    }

    /// Whether the host waits for an answer after it: a `Sync`, or a simple query.
    fn is_round_trip(&self, message: &[u8]) -> bool {
        self.has_begun && matches!(message.first(), Some(b'S' | b'Q'))
    }

    /// Whether it ends a transaction: a simple query of this one word.
    fn is_commit(&self, message: &[u8]) -> bool {
        self.has_begun && message.first() == Some(&b'Q') && message.get(5..) == Some(b"COMMIT\0".as_slice())
    }
}
