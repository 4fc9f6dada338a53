//! Notifications: how a host learns of work at once instead of at its next poll.
//!
//! On PostgreSQL they come from the server alone, by `LISTEN` on a connection of their own: what this process writes
//! comes back that way too, and so does what the artist platform's own code writes. On SQLite there is one host, and
//! its writes notify within the process. Either way the notification is sent when the transaction commits, never when
//! it is undone.
//!
//! A notification is a hint: its receiver reads the tables, and a host that misses it reads them a little later.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::broadcast;

use crate::database::connection::{Store, Work};
use crate::database::dialect::DatabaseKind;
use crate::database::error::{During as _, StoreError};
use crate::database::limits::{self, CHECK_WITHIN};
use crate::database::topic::Topic;

/// The channel of all topics; the triggers of the migrations name it too.
const CHANNEL: &str = "backline";

/// Idle time before the connection is probed: a connection whose server is gone looks like an idle one.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Receives notifications of what is written to the database.
pub struct Listener {
    source: Source,
    /// What may have been missed, and is returned before anything new.
    missed: Vec<Topic>,
}

enum Source {
    Here(broadcast::Receiver<Topic>),
    Server(Box<PgListener>),
}

impl Store {
    /// Starts to listen: everything committed from now on is received.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn listener(&self) -> Result<Listener, StoreError> {
        let source = match &self.server {
            None => Source::Here(self.wakes.subscribe()),
            Some(server) => {
                let listening = limits::within(self.limits.connect, listen(server)).await;
                Source::Server(Box::new(listening.during("listen for notifications")?))
            }
        };
        Ok(Listener { source, missed: Vec::new() })
    }

    /// Notifies this process: for what a single statement wrote.
    pub(crate) fn ring(&self, topic: Topic) {
        // There may be no listener.
        let _ = self.wakes.send(topic);
    }
}

async fn listen(server: &PgConnectOptions) -> Result<PgListener, sqlx::Error> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_with(server.clone())
        .await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    // A broken connection is reported: notifications sent in the meantime were lost.
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

impl Listener {
    /// The next topic.
    ///
    /// # Errors
    /// When the connection broke. Notifications sent since then are lost: make a new listener.
    pub async fn next(&mut self) -> Result<Topic, StoreError> {
        if let Some(topic) = self.missed.pop() {
            return Ok(topic);
        }
        match &mut self.source {
            Source::Here(here) => match here.recv().await {
                Ok(topic) => Ok(topic),
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    self.missed.extend(Topic::ALL);
                    Ok(self.missed.pop().unwrap_or(Topic::Work))
                }
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            },
            Source::Server(server) => hear(server).await.during("listen for notifications"),
        }
    }
}

async fn hear(server: &mut PgListener) -> Result<Topic, sqlx::Error> {
    let broken = || sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into());
    loop {
        match tokio::time::timeout(SILENCE_MAX, server.try_recv()).await {
            Ok(Ok(Some(notification))) => {
                // A newer host on the same database may notify of topics that this one does not know.
                if let Some(topic) = Topic::parse(notification.payload()) {
                    return Ok(topic);
                }
            }
            Ok(Ok(None)) => return Err(broken()),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let answer = sqlx::query("SELECT 1").execute(&mut *server);
                limits::within(CHECK_WITHIN, answer).await?;
            }
        }
    }
}

/// Notifies of a topic when the transaction commits.
pub(crate) async fn notify(work: &mut Work, topic: Topic) -> Result<(), StoreError> {
    if work.kind == DatabaseKind::Postgres {
        let statement = work.query("SELECT 1 AS one FROM pg_notify($1, $2)");
        work.row("notify of what was written", statement.bind(CHANNEL).bind(topic.as_str())).await?;
    }
    work.ring(topic);
    Ok(())
}

impl Work {
    /// Notifies this process when the transaction commits: for what triggers notify of on PostgreSQL.
    pub(crate) fn ring(&mut self, topic: Topic) {
        if !self.pending_notifications.contains(&topic) {
            self.pending_notifications.push(topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_by_the_name_they_are_notified_by() {
        for topic in Topic::ALL {
            assert_eq!(Topic::parse(topic.as_str()), Some(topic));
        }
        assert_eq!(Topic::parse("nothing"), None);
    }

    #[tokio::test]
    async fn on_sqlite_a_commit_notifies_and_a_rollback_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("test.db");
        let store =
            Store::open(path.to_str().expect("text"), crate::database::connection::StoreOptions::default()).await;
        let store = store.expect("the database opens");
        let mut listener = store.listener().await.expect("a listener");

        let mut undone = store.begin().await.expect("a transaction");
        notify(&mut undone, Topic::Activations).await.expect("noted");
        drop(undone);
        let mut done = store.begin().await.expect("a transaction");
        notify(&mut done, Topic::Work).await.expect("noted");
        notify(&mut done, Topic::Work).await.expect("noted");
        done.commit().await.expect("committed");
        store.ring(Topic::Activations);
        let heard = [listener.next().await.expect("heard"), listener.next().await.expect("heard")];
        assert_eq!(heard, [Topic::Work, Topic::Activations], "once each, and only what was committed");
    }

    #[tokio::test]
    async fn a_listener_that_missed_something_hears_every_topic() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("test.db");
        let store =
            Store::open(path.to_str().expect("text"), crate::database::connection::StoreOptions::default()).await;
        let store = store.expect("the database opens");
        let mut listener = store.listener().await.expect("a listener");
        for _ in 0..=crate::database::connection::WAKES_WAITING {
            store.ring(Topic::Work);
        }
        let mut heard = Vec::new();
        for _ in Topic::ALL {
            heard.push(listener.next().await.expect("heard"));
        }
        assert!(Topic::ALL.iter().all(|topic| heard.contains(topic)), "{heard:?}");
    }
}
