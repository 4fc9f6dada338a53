//! `backline plugins logs`: what connectors wrote, also in calls that trapped.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;

use crate::cli::arguments::ids::{self, Given};
use crate::cli::arguments::names::{self, PlatformName};
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::print::{self, Tone};
use backline_model::{AccountId, BatchId, Digest, Platform, Release};
use backline_store::{PluginLogFilter, PluginLogLine, Scope, Store};

/// Lines that are read again with `--follow`: of batches that end at the same time, lines with lower numbers may be
/// stored after those with higher ones. A batch has some hundred.
const READ_AGAIN: u32 = 5_000;

/// Fewest characters of a digest that name a release.
const DIGEST_CHARS_MIN: usize = 4;

/// Arguments of `logs`.
#[derive(Args)]
pub(crate) struct LogsArguments {
    /// Only of this connector, or of this platform's
    #[arg(value_name = "NAME")]
    name: Option<PlatformName>,
    /// Only of this release of it: the version, or the start of the digest
    #[arg(long, value_name = "VERSION", requires = "name")]
    release: Option<String>,
    /// Only of this batch
    #[arg(long, value_name = "BATCH")]
    batch: Option<Given<BatchId>>,
    /// Only of batches with this account
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<Given<AccountId>>,
    /// How many of the latest lines to print
    #[arg(long, value_name = "N", default_value_t = 100)]
    last: u32,
    /// Print new lines until interrupted
    #[arg(long)]
    follow: bool,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) async fn logs(context: &Context, arguments: LogsArguments) -> CommandResult {
    let LogsArguments { name, release, batch, account, last, follow, json } = arguments;
    let store = context.store().await?;
    let platform = names::platform_if_given(&store, name.as_ref()).await?;
    let release = match (&platform, release) {
        (Some(platform), Some(text)) => Some(release_of(&store, platform, &text).await?),
        _ => None,
    };
    let batch = ids::find_if_given(&store, batch.as_ref()).await?;
    let account = ids::find_if_given(&store, account.as_ref()).await?;
    let most = if follow { last.max(READ_AGAIN) } else { last };
    let filter = PluginLogFilter { platform, release, batch, account, limit: Some(most), ..PluginLogFilter::default() };
    let lines = store.plugin_logs_list(&Scope::all_tenants(), &filter).await?;
    let older = lines.len().saturating_sub(usize::try_from(last).unwrap_or(usize::MAX));
    for line in &lines[older..] {
        show(line, json)?;
    }
    if !follow {
        if lines.is_empty() && !json {
            print::note("no line matches; connectors write them with `log`, and they are kept as retention says");
        }
        return Ok(Exit::Done);
    }
    let poll = Duration::from_millis(context.config().service.poll_ms);
    tokio::select! {
        done = go_on(&store, filter, &lines, poll, json) => done?,
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(Exit::Done)
}

/// Prints lines as they are stored, until it is dropped.
async fn go_on(
    store: &Store,
    mut filter: PluginLogFilter,
    before: &[PluginLogLine],
    poll: Duration,
    json: bool,
) -> Result<(), Failure> {
    let mut seen: BTreeSet<i64> = before.iter().map(|line| line.seq).collect();
    filter.limit = None;
    loop {
        tokio::time::sleep(poll).await;
        let newest = seen.last().copied().unwrap_or(0);
        filter.after = newest.saturating_sub(READ_AGAIN.into()).max(0);
        seen = seen.split_off(&filter.after);
        for line in store.plugin_logs_list(&Scope::all_tenants(), &filter).await? {
            if seen.insert(line.seq) {
                show(&line, json)?;
            }
        }
    }
}

/// The release of a platform that is meant.
async fn release_of(store: &Store, platform: &Platform, text: &str) -> Result<Digest, Failure> {
    let is_meant = |release: &Release| {
        release.platform() == platform
            && (release.manifest.connector.version.to_string() == text
                || (text.len() >= DIGEST_CHARS_MIN && release.digest.to_string().starts_with(text)))
    };
    let releases = store.releases_list().await?;
    let found = releases.iter().filter(|release| is_meant(release)).max_by_key(|release| release.installed_at);
    found.map(|release| release.digest).ok_or_else(|| {
        Failure::usage(format!(
            "{platform} has no release '{text}'; `backline plugins list` shows versions and digests"
        ))
    })
}

fn show(line: &PluginLogLine, json: bool) -> Result<(), Failure> {
    if json {
        return print::json_line(line);
    }
    let tone = if line.level == "error" { Tone::Bad } else { Tone::Plain };
    print::toned(tone, &text_of(line))
}

/// One line for each entry: a connector must not be able to forge others.
fn text_of(line: &PluginLogLine) -> String {
    let PluginLogLine { platform, level, message, .. } = line;
    let short = |digest: &Digest| digest.to_string().chars().take(12).collect();
    let version = line.version.clone().or_else(|| line.release.as_ref().map(short));
    let version = version.unwrap_or_else(|| print::NONE.to_owned());
    let batch = line.batch.map_or_else(|| print::NONE.to_owned(), |batch| batch.to_string());
    let call = line.call.as_deref().unwrap_or(print::NONE);
    let message = message.replace('\n', "\\n");
    format!("{} {platform} {version} {batch} {call} {level}: {message}", print::time(line.at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use backline_model::RunId;
    use backline_model::fixtures::time;
    use uuid::Uuid;

    #[test]
    fn an_entry_is_one_line_whatever_a_connector_wrote() {
        let mut line = PluginLogLine {
            seq: 1,
            at: time("2026-11-29T02:00:01Z"),
            platform: Platform::new("example").expect("a name"),
            release: Some(Digest::of(b"")),
            version: Some("1.2.0".to_owned()),
            run: RunId(Uuid::nil()),
            batch: Some(BatchId(Uuid::nil())),
            call: Some("fetch".to_owned()),
            level: "warn".to_owned(),
            message: "first\n2026-11-29 02:00:02Z forged".to_owned(),
        };
        let nil = Uuid::nil();
        assert_eq!(
            text_of(&line),
            format!("2026-11-29 02:00:01Z example 1.2.0 {nil} fetch warn: first\\n2026-11-29 02:00:02Z forged")
        );
        (line.version, line.batch, line.call) = (None, None, None);
        assert!(text_of(&line).starts_with("2026-11-29 02:00:01Z example e3b0c44298fc – – warn: "), "{line:?}");
    }
}
