//! `backline alerts …`: channels to people, routes to them, digests, and the messages.

mod digests;

use std::path::{Path, PathBuf};

use chrono::{NaiveTime, TimeDelta};
use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

use crate::cli::access::credentials::read_secret;
use crate::cli::arguments::names;
use crate::cli::arguments::values;
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::print;
use crate::pipeline::{AlertReport, Host, NewRoute};
use backline_gateway::secrets::SecretText;
use backline_model::{
    AlertChannel, AlertMessage, AlertRoute, AlertSeverity, AlertState, ChannelTarget, MailTarget, QuietHours, Tenant,
};
use backline_store::AlertFilter;

/// Where PagerDuty takes events (Events API v2).
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";

/// Where Opsgenie takes alerts (Alert API).
const OPSGENIE: &str = "https://api.opsgenie.com/v2/alerts";

/// `backline alerts …`
#[derive(Subcommand)]
pub(in crate::cli) enum Command {
    /// Add, list and remove channels: Slack, mail, PagerDuty, Opsgenie, or any receiver of JSON
    #[command(subcommand)]
    Channels(Channels),
    /// Add, list and remove routes: which events go to which channels
    #[command(subcommand)]
    Routes(Routes),
    /// Add, list, remove and send digests: what moved and what is missing of a tenant, every day or week
    #[command(subcommand)]
    Digests(digests::Digests),
    /// Send a channel a test message, the way of every message, and show its text
    Test {
        /// Name of the channel
        name: String,
        /// Type of the event that it plays
        #[arg(long = "event", value_name = "TYPE", default_value = "run.completed")]
        kind: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List messages, those that are due last first
    Messages {
        /// Only messages to this channel
        name: Option<String>,
        /// Only messages in this state: gathering, sending, waiting, sent, unknown, failed or skipped
        #[arg(long, value_name = "STATE", value_parser = state)]
        state: Option<AlertState>,
        /// At most this many
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Send everything that is due once, where no `backline serve` runs
    Deliver {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// `backline alerts channels …`
#[derive(Subcommand)]
pub(in crate::cli) enum Channels {
    /// Add a channel; its secret is read from standard input or a file
    Add(Box<AddChannel>),
    /// List channels, without their secrets
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a channel and its messages
    Remove {
        /// Name of the channel
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// What a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Slack,
    Email,
    Pagerduty,
    Opsgenie,
    Generic,
}

/// Arguments of `backline alerts channels add`.
#[derive(Args)]
pub(in crate::cli) struct AddChannel {
    /// Name of the channel
    name: String,
    /// slack or generic (the secret is the URL), pagerduty or opsgenie (the key), or email (the password)
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Kind,
    /// File that holds the secret; standard input unless given
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// For pagerduty and opsgenie: another address of the service
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// For generic: file with the message as JSON; {title}, {text} and others in its texts are replaced
    #[arg(long, value_name = "FILE")]
    template: Option<PathBuf>,
    /// For email: name of the mail server
    #[arg(long, value_name = "HOST")]
    server: Option<String>,
    /// For email: port; 465 begins with TLS, any other demands STARTTLS
    #[arg(long, value_name = "PORT", default_value_t = 465)]
    port: u16,
    /// For email: address of the sender
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// For email: address of a receiver; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    to: Vec<String>,
    /// For email: name to log in with; without it no password is read
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// For email: file with a certificate in PEM that is trusted beside the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `backline alerts routes …`
#[derive(Subcommand)]
pub(in crate::cli) enum Routes {
    /// Add a route, which takes events from now on
    Add(AddRoute),
    /// List routes
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a route; messages that it began are sent
    Remove {
        /// Name of the route
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Arguments of `backline alerts routes add`.
#[derive(Args)]
pub(in crate::cli) struct AddRoute {
    /// Name of the route
    name: String,
    /// Channel to send to; may be repeated
    #[arg(long = "channel", value_name = "NAME", required = true)]
    channels: Vec<String>,
    /// Only events of this type, or of a pattern such as health.*; may be repeated
    #[arg(long = "event", value_name = "TYPE")]
    events: Vec<String>,
    /// The least severity: info, warning or critical
    #[arg(long, value_name = "SEVERITY", default_value = "warning", value_parser = severity)]
    severity: AlertSeverity,
    /// Only events about artists of this tenant
    #[arg(long, value_name = "NAME")]
    tenant: Option<Tenant>,
    /// How long a message gathers events of its kind
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = values::span)]
    window: TimeDelta,
    /// Hours in which only critical messages are sent, such as 22:00-07:00
    #[arg(long, value_name = "HOURS", value_parser = hours)]
    quiet: Option<Hours>,
    /// Time zone of the quiet hours, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    timezone: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Beginning and end of quiet hours.
#[derive(Clone, Copy, Debug)]
struct Hours {
    from: NaiveTime,
    until: NaiveTime,
}

fn kind(text: &str) -> Result<Kind, String> {
    match text {
        "slack" => Ok(Kind::Slack),
        "email" => Ok(Kind::Email),
        "pagerduty" => Ok(Kind::Pagerduty),
        "opsgenie" => Ok(Kind::Opsgenie),
        "generic" => Ok(Kind::Generic),
        _ => Err("it is not one of slack, email, pagerduty, opsgenie, generic".to_owned()),
    }
}

fn state(text: &str) -> Result<AlertState, String> {
    AlertState::parse(text).ok_or_else(|| {
        let names: Vec<&str> = AlertState::ALL.iter().map(|state| state.as_str()).collect();
        format!("it is not one of {}", names.join(", "))
    })
}

fn severity(text: &str) -> Result<AlertSeverity, String> {
    AlertSeverity::parse(text).ok_or_else(|| "it is not one of info, warning, critical".to_owned())
}

fn hours(text: &str) -> Result<Hours, String> {
    QuietHours::span(text)
        .map(|(from, until)| Hours { from, until })
        .ok_or_else(|| "it is not a span of hours; write one such as 22:00-07:00".to_owned())
}

/// Columns of a channel.
const CHANNEL_HEADERS: [&str; 4] = ["name", "kind", "to", "??added"];

/// Columns of a route.
const ROUTE_HEADERS: [&str; 8] = ["name", "channels", "events", "severity", "?tenant", "?window", "?quiet", "??added"];

/// Columns of a message.
const MESSAGE_HEADERS: [&str; 9] =
    ["channel", "type", "severity", "state", ">events", "?>attempts", "?due", "?>status", "problem"];

/// Runs the command.
pub(in crate::cli) async fn run(context: &Context, command: Command) -> CommandResult {
    let host = context.host().await?;
    match command {
        Command::Channels(Channels::Add(arguments)) => add_channel(&host, *arguments).await?,
        Command::Channels(Channels::List { json }) => {
            let channels = host.alerts().channels().await?;
            note_unreadable(&host, "alert_channels", "gets no message");
            let if_empty = "there is no channel; `backline alerts channels add` adds one";
            print::listing(json, &channels, &CHANNEL_HEADERS, channel_cells, if_empty)?;
        }
        Command::Channels(Channels::Remove { name, json }) => {
            host.alerts().remove_channel(&name).await?;
            print::done(json, &json!({ "name": name }), &format!("removed channel {name}"))?;
        }
        Command::Routes(Routes::Add(arguments)) => add_route(&host, arguments).await?,
        Command::Routes(Routes::List { json }) => {
            let routes = host.alerts().routes().await?;
            note_unreadable(&host, "alert_routes", "takes no event");
            let if_empty = "there is no route; `backline alerts routes add` adds one";
            print::listing(json, &routes, &ROUTE_HEADERS, route_cells, if_empty)?;
        }
        Command::Routes(Routes::Remove { name, json }) => {
            host.alerts().remove_route(&name).await?;
            print::done(json, &json!({ "name": name }), &format!("removed route {name}"))?;
        }
        Command::Digests(command) => return digests::run(&host, command).await,
        Command::Test { name, kind, json } => return test(&host, &name, &kind, json).await,
        Command::Messages { name, state, limit, json } => {
            let filter = AlertFilter { channel: name, state, limit: Some(limit), ..AlertFilter::default() };
            let messages = host.alerts().messages(&filter).await?;
            print::listing(json, &messages, &MESSAGE_HEADERS, message_cells, "no message matches")?;
        }
        Command::Deliver { json } => {
            let report = host.alerts().deliver_due().await?;
            let AlertReport { sent, waiting, unknown, failed, skipped } = report;
            let sentence = format!(
                "{sent} sent, {waiting} failed and will be sent again, {unknown} may have arrived, {failed} given up, \
                 {skipped} skipped"
            );
            print::done(json, &report, &sentence)?;
        }
    }
    Ok(Exit::Done)
}

fn note_unreadable(host: &Host, table: &str, consequence: &str) {
    for row in host.store().unreadable_rows().iter().filter(|row| row.table == table) {
        print::note(&format!("{row}; it {consequence}: correct it, or remove it by its name"));
    }
}

/// The exit code tells whether it arrived.
async fn test(host: &Host, name: &str, kind: &str, json: bool) -> CommandResult {
    let tested = host.alerts().test(name, kind).await?;
    if json {
        print::json(&tested)?;
    } else {
        let problem = tested.message.problem.as_ref().map_or_else(String::new, |problem| format!(": {problem}"));
        print::line(&format!("{name} {}{problem}", tested.message.state))?;
        print::line(&print::hanging(&format!("  {}", tested.text)))?;
    }
    Ok(if tested.message.state == AlertState::Sent { Exit::Done } else { Exit::Failed })
}

async fn add_channel(host: &Host, arguments: AddChannel) -> Result<(), Failure> {
    let target = target(&arguments)?;
    let AddChannel { name, file, user, kind, json, .. } = arguments;
    let secret = if kind == Kind::Email && user.is_none() {
        SecretText::new("")
    } else {
        SecretText::new(read_secret(file.as_deref())?.trim())
    };
    let channel = host.alerts().add_channel(&name, target, &secret).await?;
    print::done(json, &channel, &format!("added channel {name}"))?;
    print::note(&format!("`backline alerts test {name}` tests it; `backline alerts routes add` says what goes to it"));
    Ok(())
}

fn target(arguments: &AddChannel) -> Result<ChannelTarget, Failure> {
    let AddChannel { kind, url, template, server, port, from, to, user, ca, .. } = arguments;
    let needs = |what: &str| Failure::usage(format!("a channel of this kind needs {what}"));
    let url_or = |usual: &str| url.clone().unwrap_or_else(|| usual.to_owned());
    Ok(match kind {
        Kind::Slack => ChannelTarget::Slack,
        Kind::Pagerduty => ChannelTarget::Pagerduty { url: url_or(PAGERDUTY) },
        Kind::Opsgenie => ChannelTarget::Opsgenie { url: url_or(OPSGENIE) },
        Kind::Generic => {
            let file = template.as_deref().ok_or_else(|| needs("--template"))?;
            let template: Json = serde_json::from_str(&read(file)?)
                .map_err(|error| Failure::usage(format!("{} is not JSON: {error}", file.display())))?;
            ChannelTarget::Generic { template }
        }
        Kind::Email => ChannelTarget::Email(MailTarget {
            server: server.clone().ok_or_else(|| needs("--server"))?,
            port: *port,
            from: from.clone().ok_or_else(|| needs("--from"))?,
            to: if to.is_empty() { return Err(needs("--to")) } else { to.clone() },
            user: user.clone(),
            ca: ca.as_deref().map(read).transpose()?,
        }),
    })
}

fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| Failure::usage(format!("{} can't be read: {error}", file.display())))
}

async fn add_route(host: &Host, arguments: AddRoute) -> Result<(), Failure> {
    let AddRoute { name, channels, events, severity, tenant, window, quiet, timezone, json } = arguments;
    names::expect_tenant(host.store(), tenant.as_ref()).await?;
    let zone = values::timezone(&timezone)?;
    let quiet = quiet.map(|Hours { from, until }| QuietHours { from, until, zone });
    // One that is too long is refused for what it is.
    let window_s = u32::try_from(window.num_seconds()).unwrap_or(u32::MAX);
    let new = NewRoute { name, channels, events, severity, tenant, window_s, quiet };
    let route = host.alerts().add_route(new).await?;
    print::done(json, &route, &format!("added route {}", route.name))
}

fn channel_cells(channel: &AlertChannel) -> Vec<String> {
    let to = match &channel.target {
        ChannelTarget::Email(mail) => mail.to.join(", "),
        ChannelTarget::Pagerduty { url } | ChannelTarget::Opsgenie { url } => url.clone(),
        // The URL is the secret.
        ChannelTarget::Slack | ChannelTarget::Generic { .. } => print::NONE.to_owned(),
    };
    vec![channel.name.clone(), channel.target.kind().to_owned(), to, print::time(channel.created_at)]
}

fn quiet_text(quiet: Option<&QuietHours>) -> String {
    quiet.map_or_else(
        || print::NONE.to_owned(),
        |quiet| format!("{}-{} {}", quiet.from.format("%H:%M"), quiet.until.format("%H:%M"), quiet.zone),
    )
}

fn route_cells(route: &AlertRoute) -> Vec<String> {
    let none = || print::NONE.to_owned();
    vec![
        route.name.clone(),
        route.channels.join(", "),
        route.events.join(", "),
        route.severity.to_string(),
        route.tenant.as_ref().map_or_else(none, ToString::to_string),
        format!("{} s", route.window_s),
        quiet_text(route.quiet.as_ref()),
        print::time(route.created_at),
    ]
}

fn message_cells(message: &AlertMessage) -> Vec<String> {
    let none = || print::NONE.to_owned();
    vec![
        message.channel.clone(),
        message.kind.clone(),
        message.severity.to_string(),
        message.state.to_string(),
        message.events.to_string(),
        message.attempts.to_string(),
        print::time(message.due_at),
        message.status.map_or_else(none, |status| status.to_string()),
        message.problem.clone().unwrap_or_else(none),
    ]
}
