//! What each recorded command is about, whose state is on record before and after it. A test compares the table with
//! the commands.

use clap::ArgMatches;
use uuid::Uuid;

use super::{Meant, texts};
use crate::pipeline::Subject;
use backline_model::{AccountId, ArtistId, BatchId, Holder, Platform, RunId, TokenId};

/// What a command is about: which of its arguments names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    /// An artist.
    Artist,
    /// An account.
    Account,
    /// A run.
    Run,
    /// Batches, or those of a run, or all of them.
    Batches,
    /// An act on everything that a filter shows.
    Bulk,
    /// A value that failed validation.
    Value,
    /// Where a credential is put.
    Slot,
    /// A token.
    Token,
    /// A webhook.
    Webhook,
    /// A schedule.
    Schedule,
    /// The releases of a connector.
    Connector,
    /// What collects a platform.
    Platform,
    /// A pause.
    Pause,
    /// A channel of alerts.
    Channel,
    /// A route of alerts.
    Route,
    /// A digest.
    Digest,
    /// Something that the command makes, and names itself.
    Made,
    /// Many things, of which its own report says more, or none that it changes.
    Nothing,
}

impl About {
    /// The argument that names it.
    fn argument(self) -> Option<&'static str> {
        match self {
            Self::Artist => Some("artist"),
            Self::Account => Some("account"),
            Self::Run => Some("run"),
            Self::Batches => Some("batches"),
            Self::Bulk | Self::Value | Self::Token => Some("id"),
            Self::Slot => Some("slot"),
            Self::Webhook | Self::Schedule | Self::Connector | Self::Channel | Self::Route | Self::Digest => {
                Some("name")
            }
            Self::Platform => Some("platform"),
            Self::Pause => Some("key"),
            Self::Made | Self::Nothing => None,
        }
    }
}

/// Every recorded command, in the order of the list of these.
const ABOUT: [(&str, About); 62] = [
    ("migrate", About::Nothing),
    ("artists add", About::Made),
    ("artists import", About::Nothing),
    ("artists sync", About::Nothing),
    ("artists set", About::Artist),
    ("accounts add", About::Made),
    ("accounts set", About::Account),
    ("accounts remove", About::Account),
    ("consents grant", About::Artist),
    ("consents withdraw", About::Artist),
    ("privacy export", About::Nothing),
    // Nothing of the artist may stay on record.
    ("privacy erase", About::Nothing),
    ("privacy readmit", About::Nothing),
    ("credentials set", About::Slot),
    ("credentials remove", About::Slot),
    ("plugins install", About::Made),
    ("plugins grant", About::Connector),
    ("plugins revoke", About::Connector),
    ("plugins activate", About::Connector),
    ("plugins remove", About::Connector),
    ("plugins test", About::Connector),
    ("plugins shadow", About::Connector),
    ("plugins canary start", About::Connector),
    ("plugins canary stop", About::Platform),
    ("plugins rollback", About::Platform),
    ("run", About::Made),
    ("run cancel", About::Run),
    ("backfill", About::Made),
    ("quarantine release", About::Value),
    ("quarantine discard", About::Value),
    ("batches retry", About::Batches),
    ("batches release", About::Batches),
    ("bulk start", About::Made),
    ("bulk resume", About::Bulk),
    ("bulk cancel", About::Bulk),
    ("pauses end", About::Pause),
    ("webhooks add", About::Webhook),
    ("webhooks test", About::Webhook),
    ("webhooks remove", About::Webhook),
    ("webhooks enable", About::Webhook),
    ("webhooks disable", About::Webhook),
    ("webhooks rotate-secret", About::Webhook),
    ("webhooks resend", About::Webhook),
    ("webhooks deliver", About::Nothing),
    ("alerts channels add", About::Channel),
    ("alerts channels remove", About::Channel),
    ("alerts routes add", About::Route),
    ("alerts routes remove", About::Route),
    ("alerts digests add", About::Digest),
    ("alerts digests remove", About::Digest),
    ("alerts digests send", About::Digest),
    ("alerts test", About::Channel),
    ("alerts deliver", About::Nothing),
    ("schedules add", About::Schedule),
    ("schedules remove", About::Schedule),
    ("schedules enable", About::Schedule),
    ("schedules disable", About::Schedule),
    ("archive run", About::Nothing),
    ("keys rotate", About::Nothing),
    ("installation join", About::Nothing),
    ("tokens create", About::Made),
    ("tokens revoke", About::Token),
];

fn about(path: &str) -> About {
    ABOUT.iter().find(|(action, _)| *action == path).map_or(About::Nothing, |(_, about)| *about)
}

/// Whether there is something to look at before a command.
pub(super) fn has_any(path: &str) -> bool {
    about(path).argument().is_some()
}

/// The ids that an argument means.
pub(super) fn ids(name: &str, matches: &ArgMatches, meant: &Meant) -> Vec<Uuid> {
    match meant.get(name) {
        Some(found) => found.clone(),
        None => texts(matches, name).iter().filter_map(|text| Uuid::parse_str(text).ok()).collect(),
    }
}

/// What a command is about.
pub(super) fn of(path: &str, matches: &ArgMatches, meant: &Meant) -> Vec<Subject> {
    let ids = |name: &str| ids(name, matches, meant);
    let all =
        |name: &str, subject: fn(Uuid) -> Subject| -> Vec<Subject> { ids(name).into_iter().map(subject).collect() };
    let named =
        |subject: fn(String) -> Subject| -> Vec<Subject> { texts(matches, "name").into_iter().map(subject).collect() };
    let platform = || texts(matches, "platform").first().and_then(|text| Platform::new(text.as_str()).ok());
    match about(path) {
        About::Artist => all("artist", |id| Subject::Artist(ArtistId(id))),
        About::Account => all("account", |id| Subject::Account(AccountId(id))),
        About::Run => all("run", |id| Subject::Run(RunId(id))),
        About::Batches => {
            let mut found = all("batches", |id| Subject::Batch(BatchId(id)));
            let of_run = all("run", |id| Subject::Run(RunId(id)));
            found.extend(if of_run.is_empty() { vec![Subject::Batches] } else { of_run });
            found
        }
        About::Bulk => all("id", Subject::Bulk),
        About::Value => all("id", Subject::Quarantined),
        About::Token => all("id", |id| Subject::Token(TokenId(id))),
        About::Slot => {
            let slot = texts(matches, "slot").pop();
            let account = ids("account").first().map(|id| AccountId(*id));
            // An account that was not found does not stand for the operator's own slot.
            let is_known = account.is_some() || texts(matches, "account").is_empty();
            let found = platform().zip(slot).filter(|_| is_known);
            found.map(|(platform, slot)| Subject::Slot { platform, slot, account }).into_iter().collect()
        }
        About::Webhook => named(Subject::Webhook),
        About::Schedule => named(Subject::Schedule),
        About::Connector => named(Subject::Connector),
        About::Channel => named(Subject::AlertChannel),
        About::Route => named(Subject::AlertRoute),
        About::Digest => named(Subject::AlertDigest),
        About::Platform => platform().map(Subject::Platform).into_iter().collect(),
        About::Pause => texts(matches, "key").first().and_then(|key| pause(key)).into_iter().collect(),
        About::Made | About::Nothing => Vec::new(),
    }
}

fn pause(key: &str) -> Option<Subject> {
    let holder = match key.split_once('/')? {
        ("credential", id) => Holder::Credential(id.parse().ok()?),
        ("platform", name) => Holder::Platform(Platform::new(name).ok()?),
        _ => return None,
    };
    Some(Subject::Pause(holder))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Arguments;
    use crate::cli::audited::{RECORDED, leaf};

    #[test]
    fn every_recorded_command_says_what_it_is_about() {
        let recorded: Vec<&str> = RECORDED.iter().map(|(action, _)| *action).collect();
        let told: Vec<&str> = ABOUT.iter().map(|(action, _)| *action).collect();
        assert_eq!(told, recorded);
        let command = Arguments::command();
        for (path, about) in ABOUT {
            let found = path.split(' ').try_fold(&command, |command, name| command.find_subcommand(name));
            let Some(argument) = about.argument() else { continue };
            let has_it = found.is_some_and(|sub| sub.get_arguments().any(|one| one.get_id() == argument));
            assert!(has_it, "`{path}` has no argument {argument}");
        }
    }

    fn of_line(line: &[&str]) -> Vec<Subject> {
        let matches = Arguments::command().try_get_matches_from(line).expect("it is understood");
        let (path, matches) = leaf(&matches);
        of(&path, matches, &Meant::new())
    }

    #[test]
    fn arguments_say_what_a_command_is_about() {
        let id = Uuid::from_u128(0x018f_4e6a_7c1d_7b3a_9c55_3f1d_2a4b_5c6d);
        let text = id.to_string();
        assert_eq!(of_line(&["backline", "run", "cancel", &text]), [Subject::Run(RunId(id))]);
        assert_eq!(of_line(&["backline", "batches", "retry", "--all-dead"]), [Subject::Batches]);
        let of_run = of_line(&["backline", "batches", "retry", "--run", &text]);
        assert_eq!(of_run, [Subject::Run(RunId(id))]);
        let platform = Platform::new("tiktok").expect("a name");
        let slot = |account| Subject::Slot { platform: platform.clone(), slot: "user".to_owned(), account };
        let remove = ["backline", "credentials", "remove", "tiktok", "user"];
        assert_eq!(of_line(&remove), [slot(None)]);
        let of_account = [&remove[..], &["--account", text.as_str()]].concat();
        assert_eq!(of_line(&of_account), [slot(Some(AccountId(id)))]);
        let unknown = [&remove[..], &["--account", "ada"]].concat();
        assert!(of_line(&unknown).is_empty(), "it is not the operator's own");
        assert_eq!(of_line(&["backline", "webhooks", "disable", "mine"]), [Subject::Webhook("mine".to_owned())]);
        let ended = of_line(&["backline", "pauses", "end", "platform/tiktok"]);
        assert_eq!(ended, [Subject::Pause(Holder::Platform(platform.clone()))]);
    }
}
