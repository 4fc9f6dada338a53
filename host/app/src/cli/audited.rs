//! Which commands are recorded in the audit log, and what is recorded of their arguments.
//!
//! Every command stands in one of two lists; a test compares them with the command line. What is recorded is named one
//! by one: other arguments may hold a secret (an address with a password) or name an artist.

mod subjects;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::ArgMatches;
use clap::parser::ValueSource;
use serde_json::{Map, Value as Json};
use uuid::Uuid;

use crate::cli::arguments::ids::{BulkActId, EventId, Given, Identified, QuarantinedId};
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::print;
use crate::pipeline::{AuditLog, Deed, nearest, user_of_process};
use backline_model::audit::ActOutcome;
use backline_model::{AccountId, ArtistId, BatchId, Platform, RunId, TokenId};
use backline_store::{Scope, Store};

/// Commands that change something or take data out, each with the arguments that are recorded.
const RECORDED: [(&str, &[&str]); 62] = [
    ("migrate", &[]),
    ("artists add", &["tenant", "status"]),
    ("artists import", &["no_consent", "replace_credentials"]),
    ("artists sync", &["allow_removals"]),
    ("artists set", &["status", "collection", "consent", "withdraw"]),
    ("accounts add", &["platform", "no_consent"]),
    ("accounts set", &["status"]),
    ("accounts remove", &["platform", "reason"]),
    ("consents grant", &["platform", "scope"]),
    ("consents withdraw", &["platform", "scope"]),
    ("privacy export", &[]),
    ("privacy erase", &[]),
    ("privacy readmit", &[]),
    ("credentials set", &["platform", "slot"]),
    ("credentials remove", &["platform", "slot"]),
    ("plugins install", &["no_activate", "allow_downgrade"]),
    ("plugins grant", &["name", "version"]),
    ("plugins revoke", &["name", "host", "slot"]),
    ("plugins activate", &["name", "version", "anyway", "again"]),
    ("plugins remove", &["name", "version", "force"]),
    ("plugins test", &["name", "version"]),
    ("plugins shadow", &["name", "version"]),
    ("plugins canary start", &["name", "version", "share"]),
    ("plugins canary stop", &["platform"]),
    ("plugins rollback", &["platform"]),
    ("run", &["date", "platform"]),
    ("run cancel", &["run"]),
    ("backfill", &["platform", "from", "to"]),
    ("quarantine release", &["id"]),
    ("quarantine discard", &["id"]),
    ("batches retry", &["batches", "run", "platform", "all_dead"]),
    ("batches release", &["batches", "run", "platform", "all_deferred"]),
    ("bulk start", &["action", "platform", "run", "status", "metric", "rule", "trigger", "tenant"]),
    ("bulk resume", &["id"]),
    ("bulk cancel", &["id"]),
    ("pauses end", &["key"]),
    ("webhooks add", &["name", "kind", "tenant"]),
    ("webhooks test", &["name"]),
    ("webhooks remove", &["name"]),
    ("webhooks enable", &["name"]),
    ("webhooks disable", &["name"]),
    ("webhooks rotate-secret", &["name"]),
    ("webhooks resend", &["name", "event", "parked", "since"]),
    ("webhooks deliver", &[]),
    ("alerts channels add", &["name", "kind"]),
    ("alerts channels remove", &["name"]),
    ("alerts routes add", &["name", "channels", "severity", "tenant"]),
    ("alerts routes remove", &["name"]),
    ("alerts digests add", &["name", "channel", "tenant", "every", "hour", "timezone"]),
    ("alerts digests remove", &["name"]),
    ("alerts digests send", &["name"]),
    ("alerts test", &["name", "kind"]),
    ("alerts deliver", &[]),
    ("schedules add", &["name", "cron", "timezone", "platform"]),
    ("schedules remove", &["name"]),
    ("schedules enable", &["name"]),
    ("schedules disable", &["name"]),
    ("archive run", &["at"]),
    ("keys rotate", &[]),
    ("installation join", &[]),
    ("tokens create", &["name", "role", "tenant", "expires"]),
    ("tokens revoke", &["id"]),
];

/// Refuses an action that is a slip of one that is recorded.
pub(in crate::cli) fn expect_action(given: &str) -> Result<(), Failure> {
    let recorded = || RECORDED.iter().map(|(path, _)| *path);
    match nearest::nearest(given, recorded()) {
        Some(meant) if !recorded().any(|path| path == given) => {
            Err(Failure::usage(format!("no action is called '{given}'; did you mean '{meant}'?")))
        }
        _ => Ok(()),
    }
}

/// Commands that only read, or that touch no database.
#[cfg(test)]
const READING: [&str; 70] = [
    "artists list",
    "artists show",
    "accounts list",
    "accounts attention",
    "accounts timeline",
    "consents list",
    "privacy verify",
    "credentials list",
    "credentials check",
    "plugins list",
    "plugins inspect",
    "plugins diff",
    "plugins history",
    "plugins timeline",
    "plugins try",
    "plugins conformance",
    "plugins canary list",
    "plugins logs",
    "plugins search",
    "plugins check",
    "plugins schema",
    "plugins index add",
    "plugins index verify",
    // What it changes lies in a registry.
    "plugins publish",
    "plugins new",
    "plugins dev",
    "plugins update",
    "plugins pack",
    "plugins keygen",
    "plugins sign",
    "plugins verify",
    "plan",
    "hosts",
    "metrics",
    "growth",
    "quarantine list",
    "runs list",
    "runs show",
    "batches list",
    "batches show",
    "bulk count",
    "bulk list",
    "bulk show",
    "pauses list",
    "events tail",
    "events show",
    "webhooks list",
    "webhooks deliveries",
    "alerts channels list",
    "alerts routes list",
    "alerts digests list",
    "alerts messages",
    "schedules list",
    "schedules fires",
    "archive plan",
    "archive runs",
    "config show",
    "config check",
    "keys generate",
    "keys status",
    "installation show",
    "tokens list",
    "audit list",
    "health",
    "health alerts",
    "ready",
    "completions",
    "manual",
    // It says so in its own log, and stops when it is told to.
    "serve",
    // What it changes is its own database.
    "demo",
];

/// How long the database may take to say what a command is about, which its entry lacks otherwise. The command waits as
/// long as it must, and says what is wrong.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// The whole ids that arguments mean which were typed in part, by a name, or as `latest`.
pub(super) type Meant = BTreeMap<&'static str, Vec<Uuid>>;

/// Finds what a recorded command is about, and looks at it. What is not found is told by the command itself.
pub(super) async fn meant(context: &Context, matches: &ArgMatches) -> Meant {
    let (path, matches) = leaf(matches);
    let is_recorded = RECORDED.iter().any(|(action, _)| *action == path) && !is_given(matches, "dry_run");
    if !is_recorded || !context.has_database() {
        return Meant::new();
    }
    let is_short = |name: &&str| texts(matches, name).iter().any(|text| Uuid::parse_str(text).is_err());
    let short: Vec<&'static str> =
        ["artist", "account", "run", "batches", "event", "id"].into_iter().filter(is_short).collect();
    if short.is_empty() && !subjects::has_any(&path) {
        return Meant::new();
    }
    let look = async {
        let store = context.open_any().await.ok()?;
        let meant = ids(&store, &path, matches, &short).await;
        let log = AuditLog::new(store, context.clock.clone());
        for subject in subjects::of(&path, matches, &meant) {
            log.about(&Scope::all_tenants(), &context.subjects, subject).await;
        }
        Some(meant)
    };
    tokio::time::timeout(LOOK_WITHIN, look).await.ok().flatten().unwrap_or_default()
}

/// The whole ids of arguments that were typed in part, by a name, or as `latest`.
async fn ids(store: &Store, path: &str, matches: &ArgMatches, short: &[&'static str]) -> Meant {
    let mut meant = Meant::new();
    for &name in short {
        for text in texts(matches, name) {
            let found = match name {
                "artist" => whole::<ArtistId>(store, &text).await.map(|id| id.0),
                "account" => account(store, matches, &text).await.map(|id| id.0),
                "run" => whole::<RunId>(store, &text).await.map(|id| id.0),
                "batches" => whole::<BatchId>(store, &text).await.map(|id| id.0),
                "event" => whole::<EventId>(store, &text).await.map(|id| id.0),
                _ if path.starts_with("quarantine") => {
                    whole::<QuarantinedId>(store, &text).await.map(|QuarantinedId(id)| id)
                }
                _ if path.starts_with("bulk") => whole::<BulkActId>(store, &text).await.map(|BulkActId(id)| id),
                _ if path.starts_with("tokens") => whole::<TokenId>(store, &text).await.map(|id| id.0),
                _ => None,
            };
            meant.entry(name).or_default().extend(found);
        }
    }
    meant
}

async fn whole<T: Identified>(store: &Store, text: &str) -> Option<T> {
    text.parse::<Given<T>>().ok()?.find(store).await.ok()
}

/// An account: on the platform that is given too, if one is.
async fn account(store: &Store, matches: &ArgMatches, text: &str) -> Option<AccountId> {
    match texts(matches, "platform").as_slice() {
        [platform] => {
            let platform = Platform::new(platform.as_str()).ok()?;
            text.parse::<Given<AccountId>>().ok()?.find_on(store, &platform).await.ok()
        }
        _ => whole(store, text).await,
    }
}

/// Records a command that has ended, if it is one of those that are. A command that was refused changed nothing.
pub(super) async fn record(context: &Context, matches: &ArgMatches, meant: &Meant, outcome: &CommandResult) {
    let opened = context.take_opened();
    let deeds = deeds(matches, meant, outcome, &context.take_ended());
    if deeds.is_empty() {
        return;
    }
    let recorded = async {
        let store = match opened {
            Some(store) => store,
            // The command said already what there is to say about the database.
            None => context.open_any().await.map_err(|failure| failure.message)?,
        };
        let log = AuditLog::new(store, context.clock.clone());
        for deed in deeds {
            let recorded = log.record(&Scope::all_tenants(), user_of_process(), deed, &context.subjects).await;
            recorded.map_err(|error| error.to_string())?;
        }
        Ok::<(), String>(())
    };
    // Where the command failed, it has told why, and the database may be the reason.
    if let (Err(problem), Ok(_)) = (recorded.await, outcome) {
        print::note(&format!("warning: the audit log has no entry of this command: {problem}"));
    }
}

/// What is recorded of a command: one entry, or one for each of several accounts, since an entry is about one artist.
/// `ended`: how each account ended where they did not all end like the command; others were not acted on.
fn deeds(
    matches: &ArgMatches,
    meant: &Meant,
    outcome: &CommandResult,
    ended: &BTreeMap<AccountId, ActOutcome>,
) -> Vec<Deed> {
    if !ended.is_empty() {
        let of = |(account, outcome): (&AccountId, &ActOutcome)| {
            Some(Deed { account: Some(*account), ..deed(matches, meant, *outcome)? })
        };
        return ended.iter().filter_map(of).collect();
    }
    let Some(deed) = outcome_of(outcome).and_then(|outcome| deed(matches, meant, outcome)) else { return Vec::new() };
    let named: BTreeSet<Uuid> = subjects::ids("account", leaf(matches).1, meant).into_iter().collect();
    if named.len() < 2 {
        return vec![deed];
    }
    named.into_iter().map(|id| Deed { account: Some(AccountId(id)), ..deed.clone() }).collect()
}

/// What the log says of how a command ended; none where it was refused.
fn outcome_of(outcome: &CommandResult) -> Option<ActOutcome> {
    let ended = match outcome {
        Ok(exit) => *exit,
        Err(failure) => failure.exit,
    };
    match ended {
        Exit::Usage => None,
        Exit::Done => Some(ActOutcome::Done),
        Exit::Partial | Exit::Waiting | Exit::ObjectiveMissed => Some(ActOutcome::Partial),
        Exit::Failed => Some(ActOutcome::Failed),
    }
}

fn deed(matches: &ArgMatches, meant: &Meant, outcome: ActOutcome) -> Option<Deed> {
    let (path, matches) = leaf(matches);
    let (action, shown) = RECORDED.iter().find(|(action, _)| *action == path)?;
    if is_given(matches, "dry_run") {
        return None;
    }
    let details = shown.iter().filter(|name| is_given(matches, name)).map(|name| {
        let values = match meant.get(*name) {
            Some(ids) if !ids.is_empty() => ids.iter().map(Uuid::to_string).collect(),
            _ => texts(matches, name),
        };
        let value = match values.as_slice() {
            [] => Json::Bool(true),
            [one] if one == "true" => Json::Bool(true),
            [one] => Json::from(one.as_str()),
            _ => Json::from(values),
        };
        ((*name).to_owned(), value)
    });
    let details = Json::Object(details.collect::<Map<_, _>>());
    let found = |name: &str| meant.get(name).and_then(|ids| if let [one] = ids[..] { Some(one) } else { None });
    let artist: Option<ArtistId> = only(matches, "artist").or_else(|| found("artist").map(ArtistId));
    let account: Option<AccountId> = only(matches, "account").or_else(|| found("account").map(AccountId));
    Some(Deed { action: (*action).to_owned(), outcome, tenant: None, artist, account, details })
}

/// The command that was given, such as `plugins canary start`, with its own arguments.
fn leaf(matches: &ArgMatches) -> (String, &ArgMatches) {
    let (mut path, mut inner) = (Vec::new(), matches);
    while let Some((name, next)) = inner.subcommand() {
        path.push(name);
        inner = next;
    }
    (path.join(" "), inner)
}

/// Whether an argument stands on the command line.
fn is_given(matches: &ArgMatches, name: &str) -> bool {
    matches.try_contains_id(name).is_ok() && matches.value_source(name) == Some(ValueSource::CommandLine)
}

/// The texts of an argument's values; none where it takes none.
fn texts(matches: &ArgMatches, name: &str) -> Vec<String> {
    let raw = matches.try_get_raw(name).ok().flatten();
    raw.map(|values| values.map(|value| value.to_string_lossy().into_owned()).collect()).unwrap_or_default()
}

/// The value of an argument that is given once, if it is one of its type.
fn only<T: std::str::FromStr>(matches: &ArgMatches, name: &str) -> Option<T> {
    match texts(matches, name).as_slice() {
        [one] => one.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory as _};

    use super::*;

    /// Every command that can be given, with its path.
    fn leaves<'a>(command: &'a Command, path: &str, found: &mut Vec<(String, &'a Command)>) {
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let path = format!("{path} {}", sub.get_name()).trim().to_owned();
            if !sub.has_subcommands() || !sub.is_subcommand_required_set() {
                found.push((path.clone(), sub));
            }
            leaves(sub, &path, found);
        }
    }

    #[test]
    fn every_command_is_recorded_or_only_reads() {
        let command = super::super::Arguments::command();
        let mut found = Vec::new();
        leaves(&command, "", &mut found);
        assert!(found.len() > 60, "{}", found.len());
        for (path, sub) in &found {
            let recorded = RECORDED.iter().find(|(action, _)| action == path);
            assert_eq!(recorded.is_some(), !READING.contains(&path.as_str()), "`{path}` stands in one of the lists");
            for name in recorded.map_or(&[][..], |(_, shown)| *shown) {
                assert!(sub.get_arguments().any(|one| one.get_id() == name), "`{path}` has no argument {name}");
            }
        }
        for path in RECORDED.iter().map(|(action, _)| *action).chain(READING) {
            assert!(found.iter().any(|(known, _)| known == path), "there is no command `{path}`");
        }
    }

    fn of(arguments: &[&str], outcome: &CommandResult) -> Option<Deed> {
        let matches = super::super::Arguments::command().try_get_matches_from(arguments).expect("it is understood");
        deed(&matches, &Meant::new(), outcome_of(outcome)?)
    }

    #[test]
    fn an_entry_holds_what_is_listed_and_nothing_else() {
        let id = "018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6d";
        let url = "https://user:canary@example.org/canary";
        let added = of(&["backline", "webhooks", "add", "mine", url, "--kind", "ai"], &Ok(Exit::Done));
        let added = added.expect("it is recorded");
        assert_eq!((added.action.as_str(), added.outcome), ("webhooks add", ActOutcome::Done));
        assert_eq!(added.details, serde_json::json!({ "name": "mine", "kind": "ai" }));
        let set = ["backline", "artists", "set", id, "--name", "canary", "--collection", "false"];
        let set = of(&set, &Ok(Exit::Done)).expect("it is recorded");
        assert_eq!(set.artist, id.parse().ok());
        assert_eq!(set.details, serde_json::json!({ "collection": "false" }));
        let failed = of(&["backline", "batches", "retry", "--all-dead"], &Err(Failure::failed("canary")));
        let failed = failed.expect("it is recorded");
        assert_eq!(failed.outcome, ActOutcome::Failed);
        assert_eq!(failed.details, serde_json::json!({ "all_dead": true }));
    }

    #[test]
    fn an_act_on_several_accounts_is_on_record_once_for_each() {
        let ids = [1, 2].map(|n| AccountId(Uuid::from_u128(n)));
        let [one, other] = ids.map(|id| id.to_string());
        let (one, other) = (one.as_str(), other.as_str());
        let line = ["backline", "accounts", "remove", one, other, one, "--reason", "a slip", "--yes"];
        let matches = super::super::Arguments::command().try_get_matches_from(line).expect("it is understood");
        let told = deeds(&matches, &Meant::new(), &Ok(Exit::Done), &BTreeMap::new());
        assert_eq!(told.iter().map(|deed| deed.account).collect::<Vec<_>>(), ids.map(Some));
        assert!(told.iter().all(|deed| deed.details == serde_json::json!({ "reason": "a slip" })), "{told:?}");

        // One is removed and another one is gone by its turn; a third was not tried.
        let ended = BTreeMap::from([(ids[1], ActOutcome::Done)]);
        let told = deeds(&matches, &Meant::new(), &Err(Failure::usage("it is gone")), &ended);
        let told: Vec<_> = told.iter().map(|deed| (deed.account, deed.outcome)).collect();
        assert_eq!(told, [(Some(ids[1]), ActOutcome::Done)], "whatever the command ended with");
    }

    #[test]
    fn a_slip_of_an_action_is_told_with_the_nearest() {
        let refused = expect_action("bulk strat").expect_err("a slip");
        assert!(refused.message.contains("did you mean 'bulk start'?"), "{}", refused.message);
        for action in ["bulk start", "something else"] {
            assert!(expect_action(action).is_ok(), "{action}");
        }
    }

    #[test]
    fn what_changes_nothing_is_not_recorded() {
        assert!(of(&["backline", "runs", "list"], &Ok(Exit::Done)).is_none());
        assert!(of(&["backline", "archive", "run"], &Err(Failure::usage("no"))).is_none());
    }
}
