//! Connections with bounds: how many there are, how long each may be silent, and how much each may send before it is
//! answered.
//!
//! Where all places are taken, the connection that has waited longest gives up its own: idle ones keep no probe
//! waiting.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

use super::tls::{Tls, Wire};

/// Most connections at the same time.
const CONNECTIONS_MAX: usize = 128;

/// Longest time between two writes to a connection, and from the first bytes of a request to its answer. It closes
/// connections whose client sends a request byte by byte, or does not read the answer.
const QUIET_MAX: Duration = Duration::from_secs(30);

/// Most bytes of a request, with its line and headers: what a connection may send before it is answered.
const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// How long to wait after accepting a connection failed; the usual cause is that no file descriptor is left.
const ACCEPT_RETRY_AFTER: Duration = Duration::from_millis(200);

/// A listener whose connections have bounds.
pub(super) struct Bounded {
    listener: TcpListener,
    tls: Option<Tls>,
    permits: Arc<Semaphore>,
    places: Vec<Weak<Place>>,
    quiet_max: Duration,
}

/// The place of a connection.
#[derive(Debug)]
struct Place {
    /// When it was accepted, or last answered.
    since: Mutex<Instant>,
    given_up: AtomicBool,
    task: AtomicWaker,
}

impl Place {
    fn since(&self) -> Instant {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answered(&self) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// An error once the place is given up.
    fn check(&self) -> io::Result<()> {
        if self.given_up.load(Ordering::Acquire) { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl Bounded {
    pub(super) fn new(listener: TcpListener) -> Self {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Self { listener, tls: None, permits, places: Vec::new(), quiet_max: QUIET_MAX }
    }

    /// The same over TLS, if there is a certificate.
    pub(super) fn with_tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    /// A permit for one more connection, if need be that of the one that has waited longest.
    async fn permit(&mut self) -> Option<OwnedSemaphorePermit> {
        if let Ok(free) = Arc::clone(&self.permits).try_acquire_owned() {
            return Some(free);
        }
        self.places.retain(|place| place.strong_count() > 0);
        let taken = self.places.iter().filter_map(Weak::upgrade);
        let waiting = taken.filter(|place| !place.given_up.load(Ordering::Acquire));
        if let Some(longest) = waiting.min_by_key(|place| place.since()) {
            longest.given_up.store(true, Ordering::Release);
            longest.task.wake();
        }
        // The semaphore is never closed; if it were, connections would still be accepted.
        Arc::clone(&self.permits).acquire_owned().await.ok()
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            match TcpListener::accept(&self.listener).await {
                Ok((stream, address)) => {
                    let permit = self.permit().await;
                    let wire = Wire::new(stream, self.tls.as_ref());
                    let connection = Connection::new(wire, permit, self.quiet_max);
                    self.places.retain(|place| place.strong_count() > 0);
                    self.places.push(Arc::downgrade(&connection.place));
                    return (connection, address);
                }
                Err(error) => {
                    tracing::debug!(%error, "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY_AFTER).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails when it passes a bound.
pub(super) struct Connection {
    stream: Wire,
    quiet_max: Duration,
    quiet_until: Pin<Box<Sleep>>,
    unanswered_bytes: usize,
    place: Arc<Place>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Connection {
    fn new(stream: Wire, permit: Option<OwnedSemaphorePermit>, quiet_max: Duration) -> Self {
        let quiet_until = Box::pin(tokio::time::sleep(quiet_max));
        let since = Mutex::new(Instant::now());
        let place = Arc::new(Place { since, given_up: AtomicBool::new(false), task: AtomicWaker::new() });
        Self { stream, quiet_max, quiet_until, unanswered_bytes: 0, place, _permit: permit }
    }

    /// Pending until the time is over or the place is given up, then an error.
    fn while_in_time<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.place.task.register(context.waker());
        self.place.check()?;
        self.quiet_until.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Begins the time again.
    fn begin_again(&mut self) {
        let until = Instant::now() + self.quiet_max;
        self.quiet_until.as_mut().reset(until);
    }

    fn answered(&mut self, written: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => self.while_in_time(context),
            Poll::Ready(Ok(bytes)) if bytes > 0 => {
                self.unanswered_bytes = 0;
                self.place.answered();
                self.begin_again();
                Poll::Ready(Ok(bytes))
            }
            other => other,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.place.check()?;
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Pending => self.while_in_time(context),
            Poll::Ready(Ok(())) => {
                let bytes = buffer.filled().len() - before;
                if self.unanswered_bytes == 0 && bytes > 0 {
                    // However long it was idle: the request has all the time that one has on a new connection.
                    self.begin_again();
                }
                self.unanswered_bytes += bytes;
                if self.unanswered_bytes > REQUEST_BYTES_MAX {
                    // A read that fails has read nothing.
                    buffer.set_filled(before);
                    return Poll::Ready(Err(io::Error::other("the request is too large")));
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.answered(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.answered(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    // Over TLS these send what is left of an answer, and wait for a client that does not read it.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(context) {
            Poll::Pending => self.while_in_time(context),
            ready => ready,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_shutdown(context) {
            Poll::Pending => self.while_in_time(context),
            ready => ready,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    async fn pair(quiet_max: Duration) -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut listener = Bounded { quiet_max, ..Bounded::new(listener) };
        let address = listener.local_addr().expect("bound");
        let (accepted, client) = tokio::join!(listener.accept(), TcpStream::connect(address));
        (accepted.0, client.expect("connected"))
    }

    #[tokio::test]
    async fn a_silent_connection_is_closed() {
        let (mut connection, mut client) = pair(Duration::from_millis(100)).await;
        client.write_all(b"GET ").await.expect("sent");
        let mut buffer = [0; 4];
        connection.read_exact(&mut buffer).await.expect("read");
        let read = tokio::time::timeout(Duration::from_secs(20), connection.read(&mut buffer)).await;
        let error = read.expect("it ends in time").expect_err("closed");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(client);
    }

    #[tokio::test]
    async fn the_first_bytes_of_a_request_begin_the_time_again_and_others_do_not() {
        let (mut connection, mut client) = pair(QUIET_MAX).await;
        client.write_all(b"ab").await.expect("sent");
        let mut ends = vec![connection.quiet_until.deadline()];
        for byte in [b'a', b'b'] {
            assert_eq!(connection.read_u8().await.expect("read"), byte);
            ends.push(connection.quiet_until.deadline());
        }
        connection.write_all(b"HTTP/1.1 200 OK\r\n").await.expect("answered");
        let answered = connection.quiet_until.deadline();
        client.write_all(b"c").await.expect("sent");
        assert_eq!(connection.read_u8().await.expect("read"), b'c');
        assert!(ends[1] > ends[0], "the first byte begins it");
        assert_eq!(ends[2], ends[1], "a request is not longer for being sent slowly");
        assert!(connection.quiet_until.deadline() > answered, "the next request has a time of its own");
    }

    #[tokio::test]
    async fn a_new_connection_takes_the_place_of_the_one_that_has_waited_longest() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut listener = Bounded { permits: Arc::new(Semaphore::new(2)), ..Bounded::new(listener) };
        let address = listener.local_addr().expect("bound");
        let mut clients = Vec::new();
        let mut accepted = Vec::new();
        for _ in 0..2 {
            let (connection, client) = tokio::join!(listener.accept(), TcpStream::connect(address));
            accepted.push(connection.0);
            clients.push(client.expect("connected"));
        }
        // The first one is answered, so the second one has waited longest.
        accepted[0].write_all(b"HTTP/1.1 200 OK\r\n").await.expect("answered");
        let mut second = accepted.remove(1);
        let ended = async move {
            let error = second.read_u8().await.expect_err("it gives up its place");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        };
        let (third, client, ()) = tokio::join!(listener.accept(), TcpStream::connect(address), ended);
        let (mut third, mut client) = (third.0, client.expect("connected"));
        client.write_all(b"a").await.expect("sent");
        assert_eq!(third.read_u8().await.expect("the new one is served"), b'a');
        clients[0].write_all(b"b").await.expect("sent");
        assert_eq!(accepted[0].read_u8().await.expect("the first one is left alone"), b'b');
    }

    #[tokio::test]
    async fn an_endless_request_is_refused_and_an_answer_resets_the_count() {
        let (mut connection, mut client) = pair(QUIET_MAX).await;
        let half = vec![b'a'; REQUEST_BYTES_MAX / 2 + 1];
        let mut buffer = vec![0; half.len()];
        client.write_all(&half).await.expect("sent");
        connection.read_exact(&mut buffer).await.expect("half is in bounds");
        connection.write_all(b"HTTP/1.1 200 OK\r\n").await.expect("answered");
        client.write_all(&half).await.expect("sent");
        connection.read_exact(&mut buffer).await.expect("an answer resets the count");
        client.write_all(&half).await.expect("sent");
        let mut filled = ReadBuf::new(&mut buffer);
        let read = std::future::poll_fn(|context| {
            // What comes first may be a part of it.
            filled.clear();
            match Pin::new(&mut connection).poll_read(context, &mut filled) {
                Poll::Ready(Ok(())) => {
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                other => other,
            }
        });
        let error = read.await.expect_err("two halves are too much");
        assert!(error.to_string().contains("too large"), "{error}");
        assert!(filled.filled().is_empty(), "a read that fails has read nothing");
    }
}
