//! `backline completions` and `backline manual`: what shells and `man` need to know of the commands, made from the
//! commands themselves, so that neither can differ from them.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use clap_mangen::Man;

use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::output::{Access, Existing, NewFile};
use crate::cli::terminal::print;

/// Name of the program, as it is typed.
const PROGRAM: &str = "backline";

/// Arguments of `backline completions`.
#[derive(Args)]
pub(super) struct CompletionsArguments {
    /// The shell
    #[arg(value_enum)]
    shell: ShellName,
}

/// A shell that can be taught to complete commands.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ShellName {
    Bash,
    Zsh,
    Fish,
    #[value(name = "powershell")]
    PowerShell,
}

impl From<ShellName> for clap_complete::Shell {
    fn from(shell: ShellName) -> Self {
        match shell {
            ShellName::Bash => Self::Bash,
            ShellName::Zsh => Self::Zsh,
            ShellName::Fish => Self::Fish,
            ShellName::PowerShell => Self::PowerShell,
        }
    }
}

/// Arguments of `backline manual`.
#[derive(Args)]
pub(super) struct ManualArguments {
    /// Folder to write one page for each command to, which is made if it does not exist; without it, the page of
    /// backline itself is printed
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Replace pages that exist
    #[arg(long, requires = "output")]
    force: bool,
}

/// Prints the script that teaches a shell to complete `backline`.
pub(super) fn completions(command: clap::Command, arguments: &CompletionsArguments) -> CommandResult {
    print::bytes(&script(command, arguments.shell))?;
    Ok(Exit::Done)
}

fn script(mut command: clap::Command, shell: ShellName) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(clap_complete::Shell::from(shell), &mut command, PROGRAM, &mut script);
    script
}

/// Prints the manual page, or writes all of them.
pub(super) fn manual(command: clap::Command, arguments: &ManualArguments) -> CommandResult {
    let pages = pages(command)?;
    let Some(folder) = &arguments.output else {
        let page = pages.into_iter().find(|page| page.name == format!("{PROGRAM}.1"));
        print::bytes(&page.ok_or_else(|| Failure::failed("there is no page of backline itself"))?.text)?;
        return Ok(Exit::Done);
    };
    write(folder, &pages, Existing::forced(arguments.force))?;
    let count = print::count(pages.len() as u64, "page");
    print::note(&format!("wrote {count} to {}; `man -l FILE` shows one", folder.display()));
    Ok(Exit::Done)
}

/// Writes all pages, or none if one of them can't be written.
fn write(folder: &Path, pages: &[Page], existing: Existing) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).map_err(|error| {
        Failure::usage(format!("the folder {} can't be made: {error}; name another one", folder.display()))
    })?;
    let mut files = Vec::with_capacity(pages.len());
    for page in pages {
        let mut file = NewFile::create(&folder.join(&page.name), Access::Shared, existing)?;
        file.write(&page.text)?;
        files.push(file);
    }
    files.into_iter().try_for_each(NewFile::finish)
}

/// A page of the manual.
struct Page {
    /// Name of its file, such as `backline-runs-show.1`.
    name: String,
    text: Vec<u8>,
}

/// The pages of a command and of all that are below it. They have no date, so that they are the same whenever they are
/// made.
fn pages(command: clap::Command) -> Result<Vec<Page>, Failure> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add_pages(&command, &mut pages)
        .map_err(|error| Failure::failed(format!("the manual can't be written: {error}")))?;
    Ok(pages)
}

fn add_pages(command: &clap::Command, pages: &mut Vec<Page>) -> io::Result<()> {
    let man = Man::new(command.clone());
    let mut text = Vec::new();
    man.render(&mut text)?;
    pages.push(Page { name: man.get_filename(), text });
    command.get_subcommands().filter(|below| !below.is_hide_set()).try_for_each(|below| add_pages(below, pages))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command_line;

    #[test]
    fn each_shell_learns_commands_and_options() {
        for shell in ShellName::value_variants() {
            let script = String::from_utf8(script(command_line(), *shell)).expect("text");
            for word in ["quarantine", "completions", "no-follow", "skip-bad"] {
                assert!(script.contains(word), "{shell:?} does not know {word}");
            }
        }
    }

    #[test]
    fn each_command_has_a_page_with_its_examples_and_no_date() {
        let pages = pages(command_line()).expect("rendered");
        let again = super::pages(command_line()).expect("rendered");
        let texts = |pages: &[Page]| pages.iter().map(|page| page.text.clone()).collect::<Vec<_>>();
        assert_eq!(texts(&pages), texts(&again));
        let named = |name: &str| {
            let page = pages.iter().find(|page| page.name == name).unwrap_or_else(|| panic!("there is no {name}"));
            String::from_utf8(page.text.clone()).expect("text")
        };
        assert!(named("backline.1").contains("quarantine"));
        assert!(named("backline-runs-show.1").contains("latest"));
        assert!(pages.iter().all(|page| !page.name.contains("compile-component")), "it is the host's own");
    }

    #[test]
    fn all_pages_are_written_or_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("man");
        let page = |name: &str| Page { name: name.to_owned(), text: b"text".to_vec() };
        write(&target, &[page("a.1"), page("b.1")], Existing::forced(false)).expect("written");
        assert_eq!(std::fs::read(target.join("b.1")).expect("written"), b"text");
        let failure = write(&target, &[page("c.1"), page("a.1")], Existing::forced(false)).expect_err("a.1 exists");
        assert!(failure.message.contains("a.1 exists already"), "{}", failure.message);
        assert!(!target.join("c.1").exists());
        write(&target, &[page("c.1"), page("a.1")], Existing::forced(true)).expect("replaced");
    }
}
