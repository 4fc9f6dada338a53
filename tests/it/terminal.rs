//! The command line at a real terminal of 80 and of 120 columns: the help of each command, and each table with the rows
//! of nine days. No line is wider, and no word is cut.
//!
//! Only with `cargo xtask test --suite terminal --long`. What the terminals got is left below the build folder.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backline_model::Role;
use tokio::process::Command;
use unicode_width::UnicodeWidthStr as _;

use crate::support::companions::{Ended, companion, run, shown_in};
use crate::support::components::workspace;
use crate::support::scene::Scene;

/// Longest time for one command.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// Columns of the terminals.
const WIDTHS: [usize; 2] = [80, 120];

/// A word may be broken where it is longer: an id of a platform, an address, settings.
const WORD_MAX: usize = 20;

/// Commands that print tables; `ARTIST` and `CHANNEL` are an artist's name and its id on YouTube.
const TABLES: [&str; 34] = [
    "artists list",
    "artists show ARTIST",
    "accounts list",
    "accounts attention",
    "accounts timeline youtube/CHANNEL",
    "consents list ARTIST",
    "credentials list",
    "plugins list",
    "plugins history youtube",
    "plugins timeline youtube",
    "plan",
    "hosts",
    "metrics --limit 20",
    "growth --limit 20",
    "quarantine list",
    "runs list",
    "runs show latest",
    "batches list",
    "bulk list",
    "pauses list",
    "webhooks list",
    "webhooks deliveries app",
    "alerts channels list",
    "alerts routes list",
    "alerts digests list",
    "alerts messages",
    "schedules list",
    "schedules fires",
    "archive plan",
    "archive runs",
    "tokens list",
    "audit list",
    "health",
    "health alerts",
];

/// Runs commands in a folder with a configuration.
struct Terminal {
    python: PathBuf,
    folder: PathBuf,
    shown: PathBuf,
}

impl Terminal {
    /// What a terminal of so many columns gets of a command, without its control characters.
    async fn at(&self, width: usize, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.python);
        command.arg(workspace().join("tests/it/terminal/capture.py")).arg(width.to_string());
        command.arg(env!("CARGO_BIN_EXE_backline")).args(arguments);
        let text = succeeded(run(&mut command, &self.folder, WAIT_MAX).await, arguments);
        let text = without_sequences(&text.replace("\r\n", "\n"));
        let name: String = arguments.join("-").chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
        std::fs::write(self.shown.join(format!("{name}-{width}.txt")), &text).expect("written");
        text
    }

    /// All that a command has to say, where it is no terminal that it says it to.
    async fn whole(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backline"));
        succeeded(run(command.args(arguments), &self.folder, WAIT_MAX).await, arguments)
    }

    /// What is wrong with a command at both widths.
    async fn problems(&self, arguments: &[&str]) -> Vec<String> {
        let whole = self.whole(&[arguments, &["--wide"]].concat()).await;
        let mut problems = Vec::new();
        for width in WIDTHS {
            let text = self.at(width, arguments).await;
            let wider = text.lines().filter(|line| line.width() > width);
            problems.extend(wider.map(|line| format!("{arguments:?} at {width}: {} columns: {line}", line.width())));
            let cut = cut_words(&text, &whole);
            if !cut.is_empty() {
                problems.push(format!("{arguments:?} at {width}: {cut:?} are parts of words:\n{text}"));
            }
        }
        problems
    }

    /// The words of each command, of those above others too.
    async fn commands(&self) -> Vec<Vec<String>> {
        let mut open: Vec<Vec<String>> = vec![Vec::new()];
        let mut found = Vec::new();
        while let Some(words) = open.pop() {
            let mut arguments: Vec<&str> = words.iter().map(String::as_str).collect();
            arguments.push("--help");
            let help = self.whole(&arguments).await;
            open.extend(below(&help).into_iter().map(|name| [&words[..], &[name]].concat()));
            found.push(words);
        }
        found
    }
}

fn succeeded(ended: Ended, arguments: &[&str]) -> String {
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.said);
    ended.said
}

/// The names in the list of commands of a help. What a description goes on with stands further in.
fn below(help: &str) -> Vec<String> {
    let list = help.split_once("Commands:\n").map_or("", |(_, rest)| rest.split("\n\n").next().unwrap_or_default());
    let names = list.lines().filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')));
    names.filter_map(|line| line.split(' ').next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

/// A text without the control sequences of ECMA-48 that begin with CSI.
fn without_sequences(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    let others = parts.map(|part| part.find(|c: char| ('@'..='~').contains(&c)).map_or("", |end| &part[end + 1..]));
    others.fold(first, |text, part| text + part)
}

/// Words that are in no line of the whole text, but parts of them are. Those with digits are left out: ids are cut to
/// what tells them apart, and times go on.
fn cut_words(text: &str, whole: &str) -> Vec<String> {
    // What has no room is named as in no table.
    let text = match (text.find("no room for"), text.find("shows everything")) {
        (Some(start), Some(end)) => [&text[..start], &text[end + "shows everything".len()..]].concat(),
        _ => text.to_owned(),
    };
    let known: BTreeSet<&str> = whole.split_whitespace().collect();
    let is_known =
        |word: &str| known.contains(word) || known.iter().any(|one| one.width() > WORD_MAX && one.contains(word));
    let words = text.split_whitespace().filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
    words.filter(|word| !is_known(word)).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_line_is_wider_than_the_terminal_and_no_word_is_cut() {
    let Some(python) = companion("TESTS_PYTHON") else { return };
    let place = tempfile::tempdir().expect("a folder");
    let scene = Scene::new(&format!("sqlite://{}", place.path().join("backline.db").display())).await;
    scene.token("dashboard of the west coast", Role::Viewer, Some("north")).await;
    let folder = scene.fleet.command(&[]).get_current_dir().map(Path::to_owned).expect("a folder");
    let terminal = Terminal { python, folder, shown: shown_in("terminal") };
    let quiet = ["--log", "error"];
    let nightly = ["schedules", "add", "nightly", "--cron", "0 2 * * *", "--timezone", "Europe/Berlin"];
    terminal.whole(&[&quiet[..], &nightly].concat()).await;

    let mut problems = Vec::new();
    let commands = terminal.commands().await;
    assert!(commands.len() > 100, "{commands:?}");
    for command in &commands {
        let mut arguments: Vec<&str> = command.iter().map(String::as_str).collect();
        arguments.push("--help");
        problems.extend(terminal.problems(&arguments).await);
    }
    let artist = scene.stage.simulator.world().artist(0);
    for table in TABLES {
        let words = table.split(' ').map(|word| match word {
            "ARTIST" => artist.name.clone(),
            word => word.replace("CHANNEL", &artist.youtube_channel_id),
        });
        let words: Vec<String> = quiet.iter().map(|&word| word.to_owned()).chain(words).collect();
        let arguments: Vec<&str> = words.iter().map(String::as_str).collect();
        problems.extend(terminal.problems(&arguments).await);
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn what_terminals_get_is_told_apart() {
    assert_eq!(without_sequences("a\u{1b}[31mb\u{1b}[0m c\u{1b}[2K"), "ab c");
    let help =
        "Tells\n\nCommands:\n  list     Lists\n           them\n  show     Shows\n  help     Helps\n\nOptions:\n  -h\n";
    assert_eq!(below(help), ["list", "show"]);
    assert_eq!(below("Options:\n  -h\n"), Vec::<String>::new());
    let whole = "the total 0199f1de-0000 UCBRabcdefghijklmnopqrstuvwx";
    assert_eq!(cut_words("the tot al 0199f1de UCBRabcd efgh", whole), ["tot", "al"]);
    assert_eq!(cut_words("the\nno room for b; --wide\n  shows everything\ntotal", whole), Vec::<String>::new());
}
