//! `backline events …`: follows events, from now or from a cursor, and shows single ones; beside it, the commands about
//! where events are delivered.

pub(super) mod alerts;
pub(super) mod webhooks;

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::arguments::ids::{self, EventId, Given};
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::print;
use backline_model::{ArtistId, Event};
use backline_rules::delivery;
use backline_store::{DeliveryFilter, EventCursor, Listener, Scope, Store, StoreError};

/// Most events that one query reads.
const PAGE: u32 = 500;

/// How long to wait after a notification, so that one query reads what is written together: reading makes writers wait.
const GATHER: Duration = Duration::from_millis(200);

/// How long to wait before a failed query is retried.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Attempts of a query, first one included, without `--follow`.
const TRIES: u32 = 5;

/// `backline events …`
#[derive(Subcommand)]
pub(super) enum Command {
    /// Print events as they happen, each with the cursor to continue from
    Tail(TailArguments),
    /// Show one event and its deliveries
    Show {
        /// The event: id, beginning of it, or latest
        #[arg(value_name = "EVENT")]
        id: Given<EventId>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Arguments of `backline events tail`.
#[derive(Args)]
pub(super) struct TailArguments {
    /// Continue after this cursor; 0 is the beginning. Without it, the latest events are printed first
    #[arg(long, value_name = "CURSOR", conflicts_with = "last")]
    after: Option<EventCursor>,
    /// How many of the latest events to print first; with --type or --artist, of those that match
    #[arg(long, value_name = "N", default_value_t = 10)]
    last: u32,
    /// Only events of this type, or of a pattern such as metrics.*; may be repeated
    #[arg(long = "type", value_name = "TYPE", value_parser = pattern)]
    types: Vec<String>,
    /// Only events about this artist
    #[arg(long, value_name = "ARTIST")]
    artist: Option<Given<ArtistId>>,
    /// Continue until interrupted; this is the default
    #[arg(long, overrides_with = "no_follow")]
    follow: bool,
    /// Print existing events and exit
    #[arg(long)]
    no_follow: bool,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// What to print, once the artist is known.
struct Wanted<'a> {
    arguments: &'a TailArguments,
    artist: Option<ArtistId>,
}

impl Wanted<'_> {
    fn wants(&self, event: &Event) -> bool {
        let types = &self.arguments.types;
        let is_type = types.is_empty() || types.iter().any(|pattern| delivery::pattern_matches(pattern, &event.kind));
        is_type && self.artist.is_none_or(|artist| event.artist_id == Some(artist))
    }
}

fn pattern(text: &str) -> Result<String, String> {
    delivery::check_pattern(text).map(|()| text.to_owned())
}

/// Runs the command.
pub(super) async fn run(context: &Context, command: Command) -> CommandResult {
    match command {
        Command::Tail(arguments) => tokio::select! {
            done = tail(context, &arguments) => done?,
            _ = tokio::signal::ctrl_c() => {}
        },
        Command::Show { id, json } => show(context, &id, json).await?,
    }
    Ok(Exit::Done)
}

async fn tail(context: &Context, arguments: &TailArguments) -> Result<(), Failure> {
    let store = context.store().await?;
    let wanted = Wanted { arguments, artist: ids::find_if_given(&store, arguments.artist.as_ref()).await? };
    let poll = Duration::from_millis(context.config().service.poll_ms);
    // Before the first query, so that an event written in between still notifies.
    let mut listener = if arguments.no_follow { None } else { Some(store.listener().await?) };
    let mut after = match arguments.after {
        Some(after) => after,
        None => before_last(&store, &wanted).await?,
    };
    loop {
        after = print_after(&store, after, &wanted).await?;
        let Some(listening) = &mut listener else { return Ok(()) };
        if wait(listening, poll).await {
            tokio::time::sleep(GATHER).await;
        } else {
            listener = Some(retrying(u32::MAX, async || store.listener().await).await?);
        }
    }
}

/// The cursor after which the latest events come that were asked for: only those count that are wanted.
async fn before_last(store: &Store, wanted: &Wanted<'_>) -> Result<EventCursor, Failure> {
    let (mut before, mut left) = (None, wanted.arguments.last);
    if left == 0 {
        return Ok(store.event_cursor_get(&Scope::all_tenants(), 0).await?);
    }
    let tries = if wanted.arguments.no_follow { TRIES } else { u32::MAX };
    loop {
        let events =
            retrying(tries, async || store.events_before_list(&Scope::all_tenants(), before, PAGE).await).await?;
        for (cursor, event) in &events {
            before = Some(*cursor);
            if wanted.wants(event) {
                left -= 1;
                if left == 0 {
                    return Ok(cursor.before());
                }
            }
        }
        if events.len() < PAGE as usize {
            return Ok(EventCursor::default());
        }
    }
}

/// Repeats a query that fails because the database does not answer, or is locked by a long write.
async fn retrying<T>(tries: u32, query: impl AsyncFn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let mut tried = 1;
    loop {
        match query().await {
            Err(error) if error.is_transient() && tried < tries => {
                if tried == 1 {
                    print::note(&format!("{error}; retrying"));
                }
                tried += 1;
                tokio::time::sleep(RETRY_AFTER).await;
            }
            done => return done,
        }
    }
}

/// Waits until there may be new events: on a notification, or after `poll`, since SQLite does not notify other
/// processes. False if the connection for notifications is lost.
async fn wait(listener: &mut Listener, poll: Duration) -> bool {
    !matches!(tokio::time::timeout(poll, listener.next()).await, Ok(Err(_)))
}

/// Prints the events after a cursor; returns the cursor of the last one.
async fn print_after(store: &Store, mut after: EventCursor, wanted: &Wanted<'_>) -> Result<EventCursor, Failure> {
    loop {
        let tries = if wanted.arguments.no_follow { TRIES } else { u32::MAX };
        let events = retrying(tries, async || store.events_list(&Scope::all_tenants(), after, PAGE).await).await?;
        for (cursor, event) in &events {
            after = *cursor;
            if wanted.wants(event) {
                print_event(*cursor, event, wanted.arguments.json)?;
            }
        }
        if events.len() < PAGE as usize {
            return Ok(after);
        }
    }
}

fn print_event(cursor: EventCursor, event: &Event, as_json: bool) -> Result<(), Failure> {
    if as_json {
        let mut message = delivery::message(event);
        message["cursor"] = json!(cursor);
        return print::json_line(&message);
    }
    let artist = event.artist_id.map_or_else(|| print::NONE.to_owned(), |artist| artist.to_string());
    print::line(&format!("{cursor}  {}  {}  {artist}  {}", print::time(event.occurred_at), event.kind, event.data))
}

async fn show(context: &Context, given: &Given<EventId>, as_json: bool) -> Result<(), Failure> {
    let store = context.store().await?;
    let EventId(id) = given.find(&store).await?;
    let (cursor, event) = store.event_get(&Scope::all_tenants(), id).await?;
    let filter = DeliveryFilter { event: Some(id), limit: 1_000, ..DeliveryFilter::default() };
    let deliveries = store.deliveries_list(&Scope::all_tenants(), &filter).await?;
    let mut message = delivery::message(&event);
    message["cursor"] = json!(cursor);
    if as_json {
        message["deliveries"] = json!(deliveries);
        return print::json(&message);
    }
    print::json(&message)?;
    for delivery in deliveries {
        let problem = delivery.problem.map_or_else(String::new, |problem| format!(": {problem}"));
        print::line(&format!(
            "{} {} after {}{problem}",
            delivery.webhook,
            delivery.state,
            print::count(delivery.attempts.into(), "attempt")
        ))?;
    }
    Ok(())
}
