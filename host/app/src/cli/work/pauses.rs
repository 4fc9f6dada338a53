//! `backline pauses …`: lists the pauses that platforms asked for, and ends them.

use clap::Subcommand;

use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::print;
use crate::pipeline::believed_pauses;
use backline_model::{Holder, Platform};
use backline_store::{HeldPause, Scope};

/// `backline pauses …`
#[derive(Subcommand)]
pub(in crate::cli) enum Command {
    /// List the pauses in force, those that last longest first
    List {
        /// At most this many
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// End a pause: what is deferred because of it is due at once
    End {
        /// Its key, as the list shows it
        #[arg(value_name = "KEY", value_parser = key)]
        key: Holder,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

fn key(text: &str) -> Result<Holder, String> {
    let holder = match text.split_once('/') {
        Some(("credential", id)) => id.parse().ok().map(Holder::Credential),
        Some(("platform", name)) => Platform::new(name).ok().map(Holder::Platform),
        _ => None,
    };
    holder.ok_or_else(|| "a key is credential/ID or platform/NAME; `backline pauses list` shows them".to_owned())
}

/// Runs the command.
pub(in crate::cli) async fn run(context: &Context, command: Command) -> CommandResult {
    let (store, now) = (context.store().await?, context.clock.now());
    match command {
        Command::List { limit, json } => {
            let pauses = store.held_pauses_list(now, believed_pauses(now), limit).await?;
            print::listing(json, &pauses, &HEADERS, cells, "no pause is in force")?;
        }
        Command::End { key, json } => {
            let Some(ended) = store.pause_end(&Scope::all_tenants(), &key, now).await? else {
                let none = format!("no pause of {key} is in force; `backline pauses list` shows those that are");
                return Err(Failure::usage(none));
            };
            let batches = if ended.batches == 1 { "1 batch".to_owned() } else { format!("{} batches", ended.batches) };
            let sentence = format!("the pause of {key} is ended; {batches} of {} due now", ended.platform);
            print::done(json, &ended, &sentence)?;
        }
    }
    Ok(Exit::Done)
}

/// Columns of a pause.
pub(in crate::cli) const HEADERS: [&str; 4] = ["key", "platform", "?since", "until"];

fn cells(pause: &HeldPause) -> Vec<String> {
    vec![pause.key.clone(), pause.platform.to_string(), print::time(pause.began_at), print::time(pause.until)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use backline_model::CredentialId;

    #[test]
    fn a_key_is_read_as_it_is_shown() {
        let platform = Platform::new("demo").expect("a platform");
        for holder in [Holder::Credential(CredentialId::generate()), Holder::Platform(platform)] {
            assert_eq!(key(&holder.to_string()), Ok(holder));
        }
        for wrong in ["", "demo", "credential/demo", "platform/", "account/demo"] {
            assert!(key(wrong).is_err_and(|why| why.contains("pauses list")), "{wrong}");
        }
    }
}
