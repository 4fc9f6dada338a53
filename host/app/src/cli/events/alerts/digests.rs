//! `backline alerts digests …`: what moved and what is missing of a tenant, told again and again.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{note_unreadable, quiet_text};
use crate::cli::arguments::values;
use crate::cli::terminal::exit::{CommandResult, Exit};
use crate::cli::terminal::print;
use crate::pipeline::{Host, NewDigest};
use backline_model::{AlertDigest, AlertState, DigestDays, Tenant};

/// `backline alerts digests …`
#[derive(Subcommand)]
pub(in crate::cli) enum Digests {
    /// Add a digest of a tenant's numbers, sent every day or on one day of the week
    Add(AddDigest),
    /// List digests, and when each is due next
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a digest
    Remove {
        /// Name of the digest
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Send a digest now, out of turn, and show its text
    Send(SendDigest),
}

/// Arguments of `backline alerts digests add`.
#[derive(Args)]
pub(in crate::cli) struct AddDigest {
    /// Name of the digest
    name: String,
    /// Name of the channel, of the kind slack, email or generic
    #[arg(long, value_name = "NAME")]
    channel: String,
    /// Tenant whose numbers it tells
    #[arg(long, value_name = "NAME")]
    tenant: Tenant,
    /// When it is sent: every day, or every monday, tuesday and so on, with the changes of a week
    #[arg(long, value_name = "DAY", default_value = "day", value_parser = days)]
    every: DigestDays,
    /// At which hour, from 0 to 23
    #[arg(long, value_name = "HOUR", default_value_t = 8)]
    hour: u32,
    /// Time zone of the hour and the days, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    timezone: String,
    /// Hours in which a digest that comes late waits, such as 22:00-07:00
    #[arg(long, value_name = "HOURS")]
    quiet: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `backline alerts digests send`.
#[derive(Args)]
pub(in crate::cli) struct SendDigest {
    /// Name of the digest
    name: String,
    /// Send nothing, and only show it
    #[arg(long = "preview")]
    dry_run: bool,
    /// With --preview: show the page of the mail as HTML
    #[arg(long, requires = "dry_run")]
    html: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn days(text: &str) -> Result<DigestDays, String> {
    DigestDays::parse(text).ok_or_else(|| {
        let names: Vec<&str> = DigestDays::ALL.iter().map(|days| days.as_str()).collect();
        format!("it is not one of {}", names.join(", "))
    })
}

/// Columns of a digest.
const HEADERS: [&str; 8] = ["name", "tenant", "channel", "every", ">hour", "?timezone", "?quiet", "next"];

/// Runs the command.
pub(super) async fn run(host: &Host, command: Digests) -> CommandResult {
    match command {
        Digests::Add(arguments) => add(host, arguments).await,
        Digests::List { json } => {
            let digests = host.alerts().digests().await?;
            note_unreadable(host, "alert_digests", "is not sent");
            let if_empty = "there is no digest; `backline alerts digests add` adds one";
            print::listing(json, &digests, &HEADERS, cells, if_empty)?;
            Ok(Exit::Done)
        }
        Digests::Remove { name, json } => {
            host.alerts().remove_digest(&name).await?;
            print::done(json, &json!({ "name": name }), &format!("removed digest {name}"))?;
            Ok(Exit::Done)
        }
        Digests::Send(arguments) => send(host, arguments).await,
    }
}

async fn add(host: &Host, arguments: AddDigest) -> CommandResult {
    let AddDigest { name, channel, tenant, every, hour, timezone, quiet, json } = arguments;
    let timezone = values::timezone(&timezone)?;
    let new = NewDigest { name, channel, tenant, every, hour, timezone, quiet };
    let digest = host.alerts().add_digest(new).await?;
    let name = &digest.name;
    print::done(json, &digest, &format!("added digest {name}, due at {}", print::time(digest.next_at)))?;
    print::note(&format!("`backline alerts digests send {name} --preview` shows it"));
    Ok(Exit::Done)
}

/// The exit code tells whether it arrived.
async fn send(host: &Host, arguments: SendDigest) -> CommandResult {
    let SendDigest { name, dry_run, html, json } = arguments;
    if dry_run {
        let preview = host.alerts().preview_digest(&name).await?;
        if json {
            print::json(&preview)?;
        } else {
            print::line(if html { preview.html.trim_end() } else { &preview.text })?;
        }
        return Ok(Exit::Done);
    }
    let sent = host.alerts().send_digest(&name).await?;
    if json {
        print::json(&sent)?;
    } else {
        let problem = sent.message.problem.as_ref().map_or_else(String::new, |problem| format!(": {problem}"));
        print::line(&format!("{name} {}{problem}", sent.message.state))?;
        print::line(&print::hanging(&format!("  {}", sent.text)))?;
    }
    Ok(if sent.message.state == AlertState::Sent { Exit::Done } else { Exit::Failed })
}

fn cells(digest: &AlertDigest) -> Vec<String> {
    vec![
        digest.name.clone(),
        digest.tenant.to_string(),
        digest.channel.clone(),
        digest.every.to_string(),
        format!("{:02}:00", digest.hour),
        digest.timezone.to_string(),
        quiet_text(digest.quiet.as_ref()),
        print::time(digest.next_at),
    ]
}
