//! Examples that each command's help ends with. Tests check that each command has one, and that each is accepted.

/// A command, and lines that can be typed for it.
pub(super) type Examples = (&'static str, &'static [&'static str]);

/// By command, in the order of the help.
pub(super) const EXAMPLES: &[Examples] = &[
    ("migrate", &["backline migrate", "backline --database postgres://backline@db/backline migrate"]),
    ("artists add", &["backline artists add 'Ada Lovelace' --tenant label --timezone Europe/Berlin"]),
    (
        "artists import",
        &["backline artists import artists.csv --dry-run", "backline artists import artists.csv --skip-bad"],
    ),
    ("artists sync", &["backline artists sync --dry-run"]),
    ("artists list", &["backline artists list --tenant label", "backline artists list --json"]),
    ("artists show", &["backline artists show 'Ada Lovelace'", "backline artists show 018f4e6a"]),
    ("artists set", &["backline artists set 'Ada Lovelace' --timezone Europe/London --withdraw tiktok"]),
    ("accounts add", &["backline accounts add 'Ada Lovelace' youtube https://www.youtube.com/channel/UC1"]),
    ("accounts list", &["backline accounts list --artist 'Ada Lovelace'", "backline accounts list --status disabled"]),
    ("accounts timeline", &["backline accounts timeline youtube/UC1 --limit 20"]),
    ("accounts attention", &["backline accounts attention --platform spotify"]),
    ("accounts set", &["backline accounts set youtube/UC1 --status disabled"]),
    (
        "accounts remove",
        &[
            "backline accounts remove youtube/UC1 --dry-run",
            "backline accounts remove UC1 UC2 --platform youtube --reason 'the ids of another artist'",
        ],
    ),
    ("consents grant", &["backline consents grant 'Ada Lovelace' youtube --source 'form of 2026-11-20'"]),
    ("consents withdraw", &["backline consents withdraw 'Ada Lovelace' youtube --source 'letter of 2026-11-24'"]),
    ("consents list", &["backline consents list 'Ada Lovelace'"]),
    ("privacy export", &["backline privacy export 'Ada Lovelace' --out ada.zip"]),
    ("privacy erase", &["backline privacy erase 'Ada Lovelace' --verify"]),
    ("privacy verify", &["backline privacy verify 018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6d --from ada.zip"]),
    ("privacy readmit", &["backline privacy readmit 018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6d"]),
    (
        "credentials set",
        &[
            "backline credentials set youtube app --file key.txt",
            "backline credentials set tiktok user --account 12345 < token.json",
        ],
    ),
    ("credentials list", &["backline credentials list --platform tiktok"]),
    ("credentials check", &["backline credentials check youtube"]),
    ("credentials remove", &["backline credentials remove youtube app"]),
    (
        "plugins install",
        &[
            "backline plugins install youtube.wasm",
            "backline plugins install oci://registry.example.com/youtube:1.1.0 --no-activate",
        ],
    ),
    ("plugins list", &["backline plugins list"]),
    ("plugins inspect", &["backline plugins inspect youtube.wasm", "backline plugins inspect youtube 1.1.0"]),
    ("plugins diff", &["backline plugins diff youtube 1.1.0"]),
    ("plugins grant", &["backline plugins grant youtube 1.1.0", "backline plugins grant youtube --print"]),
    ("plugins revoke", &["backline plugins revoke youtube --slot app --reason 'the key leaked'"]),
    ("plugins activate", &["backline plugins activate youtube 1.1.0"]),
    ("plugins remove", &["backline plugins remove youtube 1.0.0"]),
    ("plugins history", &["backline plugins history youtube --limit 10"]),
    ("plugins timeline", &["backline plugins timeline youtube --limit 20"]),
    ("plugins test", &["backline plugins test youtube 1.1.0 --accounts 5"]),
    ("plugins try", &["backline plugins try youtube.wasm --account UC1 --secret app=key.txt"]),
    ("plugins conformance", &["backline plugins conformance youtube.wasm --answers answers"]),
    ("plugins shadow", &["backline plugins shadow youtube 1.1.0 --fetch 20"]),
    ("plugins canary start", &["backline plugins canary start youtube 1.1.0 --share 10 --promote-after 48"]),
    ("plugins canary stop", &["backline plugins canary stop youtube"]),
    ("plugins canary list", &["backline plugins canary list"]),
    ("plugins rollback", &["backline plugins rollback youtube --reason 'likes are wrong'"]),
    ("plugins logs", &["backline plugins logs youtube --last 20", "backline plugins logs --follow"]),
    ("plugins new", &["backline plugins new tempo --lang rust"]),
    ("plugins dev", &["backline plugins dev", "backline plugins dev tempo --once"]),
    ("plugins update", &["backline plugins update tempo --dry-run"]),
    ("plugins check", &["backline plugins check connector.toml"]),
    (
        "plugins schema",
        &["backline plugins schema --output connector.schema.json", "backline plugins schema --reference"],
    ),
    ("plugins pack", &["backline plugins pack tempo_core.wasm --output tempo.wasm"]),
    ("plugins publish", &["backline plugins publish oci://registry.example.com/tempo tempo.wasm"]),
    ("plugins search", &["backline plugins search tempo --index index.json"]),
    ("plugins index add", &["backline plugins index add index.json tempo.wasm --source tempo.wasm"]),
    ("plugins index verify", &["backline plugins index verify index.json"]),
    ("plugins keygen", &["backline plugins keygen --name acme"]),
    ("plugins sign", &["backline plugins sign tempo.wasm --key acme.key"]),
    ("plugins verify", &["backline plugins verify tempo.wasm"]),
    ("plan", &["backline plan", "backline plan --platform youtube --json"]),
    ("serve", &["backline serve --listen 127.0.0.1:8321"]),
    ("demo", &["backline demo", "backline demo --folder /tmp/label --artists 100 --days 60"]),
    ("hosts", &["backline hosts"]),
    ("run", &["backline run", "backline run --platform youtube --artist 'Ada Lovelace'"]),
    ("run cancel", &["backline run cancel latest --reason 'the key is wrong'"]),
    ("backfill", &["backline backfill --platform youtube_analytics --from 2026-10-01 --yes"]),
    (
        "metrics",
        &[
            "backline metrics 'Ada Lovelace' --platform youtube --since 2026-11-01",
            "backline metrics --json > all.json",
            "backline metrics --since 2026-11-01 --parquet november.parquet",
        ],
    ),
    ("growth", &["backline growth 'Ada Lovelace' --limit 7", "backline growth --parquet growth.parquet --force"]),
    ("quarantine list", &["backline quarantine list --platform spotify"]),
    ("quarantine release", &["backline quarantine release 0199f1de"]),
    ("quarantine discard", &["backline quarantine discard 0199f1de"]),
    ("runs list", &["backline runs list --limit 5", "backline runs list --status partial_failure"]),
    ("runs show", &["backline runs show latest", "backline runs show 0199f1de --all --json"]),
    ("batches list", &["backline batches list --run latest --state dead"]),
    ("batches show", &["backline batches show 0199f1de"]),
    ("batches retry", &["backline batches retry --run latest", "backline batches retry --all-dead"]),
    ("batches release", &["backline batches release --all-deferred"]),
    ("bulk count", &["backline bulk count quarantine_discard --platform tiktok --rule count-negative"]),
    (
        "bulk start",
        &[
            "backline bulk start accounts_resume --status not_found --reason 'their ids are corrected'",
            "backline bulk start batches_retry --run latest --reason 'the platform is back' --yes",
        ],
    ),
    ("bulk list", &["backline bulk list --state running"]),
    ("bulk show", &["backline bulk show 018f4e6a"]),
    ("bulk resume", &["backline bulk resume 018f4e6a"]),
    ("bulk cancel", &["backline bulk cancel 018f4e6a"]),
    ("pauses list", &["backline pauses list"]),
    ("pauses end", &["backline pauses end platform/youtube"]),
    (
        "events tail",
        &["backline events tail --type 'connector.*'", "backline events tail --after 0 --no-follow --json"],
    ),
    ("events show", &["backline events show latest"]),
    ("webhooks add", &["backline webhooks add app https://app.example.com/hooks --event 'metrics.*'"]),
    ("webhooks list", &["backline webhooks list"]),
    ("webhooks test", &["backline webhooks test app"]),
    ("webhooks remove", &["backline webhooks remove app"]),
    ("webhooks enable", &["backline webhooks enable app"]),
    ("webhooks disable", &["backline webhooks disable app"]),
    ("webhooks rotate-secret", &["backline webhooks rotate-secret app --keep-old 48h"]),
    ("webhooks deliveries", &["backline webhooks deliveries app --state parked"]),
    ("webhooks resend", &["backline webhooks resend app --parked", "backline webhooks resend app --since 2026-11-22"]),
    ("webhooks deliver", &["backline webhooks deliver"]),
    (
        "alerts channels add",
        &[
            "backline alerts channels add ops --kind slack --file slack-url.txt",
            "backline alerts channels add duty --kind pagerduty < routing-key.txt",
            "backline alerts channels add mail --kind email --server mx.test --from b@x.test --to a@x.test",
        ],
    ),
    ("alerts channels list", &["backline alerts channels list"]),
    ("alerts channels remove", &["backline alerts channels remove ops"]),
    (
        "alerts routes add",
        &[
            "backline alerts routes add all --channel ops --quiet 22:00-07:00 --timezone Europe/Berlin",
            "backline alerts routes add night --channel duty --channel mail --severity critical --window 0s",
        ],
    ),
    ("alerts routes list", &["backline alerts routes list"]),
    ("alerts routes remove", &["backline alerts routes remove all"]),
    (
        "alerts digests add",
        &[
            "backline alerts digests add label --channel mail --tenant label --hour 8 --timezone Europe/Berlin",
            "backline alerts digests add week --channel ops --tenant label --every monday",
        ],
    ),
    ("alerts digests list", &["backline alerts digests list"]),
    ("alerts digests remove", &["backline alerts digests remove label"]),
    ("alerts digests send", &["backline alerts digests send label --preview", "backline alerts digests send label"]),
    ("alerts test", &["backline alerts test ops", "backline alerts test duty --event health.degraded"]),
    ("alerts messages", &["backline alerts messages ops --state failed"]),
    ("alerts deliver", &["backline alerts deliver"]),
    ("schedules list", &["backline schedules list"]),
    ("schedules add", &["backline schedules add nightly --cron '0 2 * * *' --timezone Europe/Berlin"]),
    ("schedules remove", &["backline schedules remove nightly"]),
    ("schedules enable", &["backline schedules enable nightly"]),
    ("schedules disable", &["backline schedules disable nightly"]),
    ("schedules fires", &["backline schedules fires nightly --limit 7"]),
    ("archive plan", &["backline archive plan --at 2027-01-01"]),
    ("archive run", &["backline archive run --dry-run", "backline archive run"]),
    ("archive runs", &["backline archive runs"]),
    ("config show", &["backline config show"]),
    ("config check", &["backline config check", "backline config check --connect --json"]),
    ("keys generate", &["backline keys generate --file backline.key"]),
    ("keys rotate", &["backline keys rotate --new-key-file new.key"]),
    ("keys status", &["backline keys status"]),
    ("installation show", &["backline installation show"]),
    ("installation join", &["backline installation join"]),
    ("health", &["backline health --window 7d", "backline health --check", "backline health --watch 10"]),
    ("health alerts", &["backline health alerts"]),
    ("ready", &["backline ready"]),
    (
        "completions",
        &[
            "backline completions bash > /etc/bash_completion.d/backline",
            "backline completions zsh > ~/.zfunc/_backline",
        ],
    ),
    ("manual", &["backline manual | man -l -", "backline manual --output /usr/local/share/man/man1"]),
    ("tokens create", &["backline tokens create --role viewer --tenant label --expires 90d"]),
    ("tokens list", &["backline tokens list"]),
    ("tokens revoke", &["backline tokens revoke dashboard", "backline tokens revoke 018f4e6a"]),
    ("audit list", &["backline audit list --action 'plugins activate'"]),
];

/// The command with the examples at the end of its help, and so all commands below it.
pub(super) fn with_examples(command: clap::Command) -> clap::Command {
    below(command, "")
}

fn below(mut command: clap::Command, path: &str) -> clap::Command {
    if let Some((_, lines)) = EXAMPLES.iter().find(|(name, _)| *name == path) {
        let heading = if lines.len() == 1 { "Example" } else { "Examples" };
        command = command.after_help(format!("{heading}:\n  {}", lines.join("\n  ")));
    }
    let names: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    for name in names {
        let path = if path.is_empty() { name.clone() } else { format!("{path} {name}") };
        command = command.mut_subcommand(name, |command| below(command, &path));
    }
    command
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::command_line;
    use crate::cli::tests::leaves;

    /// The words of a line, as a shell splits it, up to where it redirects.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut quoted, mut word) = (Vec::new(), false, String::new());
        for c in line.chars() {
            match c {
                '\'' => quoted = !quoted,
                '<' | '>' | '|' if !quoted => break,
                ' ' if !quoted => words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty())),
                c => word.push(c),
            }
        }
        words.extend(Some(word).filter(|word| !word.is_empty()));
        words
    }

    #[test]
    fn each_command_has_examples_that_it_accepts() {
        let leaves: BTreeSet<String> = leaves().into_iter().map(|(path, _)| path).collect();
        let named: BTreeSet<String> = EXAMPLES.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(named.len(), EXAMPLES.len(), "one is there twice");
        assert_eq!(leaves.difference(&named).collect::<Vec<_>>(), Vec::<&String>::new(), "commands without an example");
        assert_eq!(named.difference(&leaves).collect::<Vec<_>>(), Vec::<&String>::new(), "examples of no command");
        for (path, lines) in EXAMPLES {
            for line in *lines {
                let words = words(line);
                assert!(words.join(" ").contains(path), "{line} is no example of {path}");
                let parsed = command_line().try_get_matches_from(&words);
                assert!(parsed.is_ok(), "{line}: {}", parsed.expect_err("refused"));
                // Two blanks stand before it in the help.
                assert!(line.len() <= 98, "{line} is too long");
            }
        }
    }

    #[test]
    fn the_commands_of_the_authors_guide_are_accepted() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/authors");
        let mut checked = 0;
        for entry in std::fs::read_dir(folder).expect("the guide") {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("text");
            for line in text.lines().filter(|line| line.starts_with("backline ")) {
                let command = line.split("  #").next().unwrap_or(line).trim_end();
                let parsed = command_line().try_get_matches_from(words(command));
                assert!(parsed.is_ok(), "{}: {command}: {}", path.display(), parsed.expect_err("refused"));
                checked += 1;
            }
        }
        assert!(checked > 30, "{checked}");
    }

    #[test]
    fn help_ends_with_the_examples() {
        let mut command = command_line();
        let runs = command.find_subcommand_mut("runs").expect("there");
        let help = runs.find_subcommand_mut("show").expect("there").render_help().to_string();
        let ends = "Examples:\n  backline runs show latest\n  backline runs show 0199f1de --all --json";
        assert!(help.trim_end().ends_with(ends), "{help}");
    }
}
