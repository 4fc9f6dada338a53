//! `backline tokens …`: tokens of the HTTP API.

use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::arguments::ids::Given;
use crate::cli::arguments::{names, values};
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::print;
use crate::pipeline::{NewToken, Subject, Tokens};
use backline_model::{ApiToken, Role, Tenant, TokenId};

/// `backline tokens …`
#[derive(Subcommand)]
pub(in crate::cli) enum Command {
    /// Make a token; it is printed once
    Create(CreateArguments),
    /// List tokens, without the tokens themselves
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a token: no host accepts it any more
    Revoke {
        /// The token: id, beginning of it, or name
        id: Given<TokenId>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Arguments of `backline tokens create`.
#[derive(Args)]
pub(in crate::cli) struct CreateArguments {
    /// What it allows: numbers (reads them), viewer (reads), operator (also starts and decides) or admin (all)
    #[arg(long, value_name = "ROLE", value_parser = role)]
    role: Role,
    /// Only rows of this tenant
    #[arg(long, value_name = "NAME")]
    tenant: Option<Tenant>,
    /// When it expires: a time such as 2027-01-01, or a duration from now such as 90d; never unless given
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    expires: Option<Expiry>,
    /// Name that tells it from others; the role unless given
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// When a token expires, as it was given.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expiry {
    /// At a time.
    At(DateTime<Utc>),
    /// So long after it was made.
    After(TimeDelta),
}

fn expiry(text: &str) -> Result<Expiry, String> {
    if let Ok(span) = values::span(text) {
        return Ok(Expiry::After(span));
    }
    let time = values::time(text).map(Expiry::At);
    time.map_err(|_| "it is neither a time nor a duration; write one such as 2027-01-01 or 90d".to_owned())
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| format!("it is not one of {}", Role::ALL.map(Role::as_str).join(", ")))
}

/// Runs the command.
pub(in crate::cli) async fn run(context: &Context, command: Command) -> CommandResult {
    let store = context.store().await?;
    let tokens = Tokens::new(store.clone(), context.clock.clone());
    let now = context.clock.now();
    match command {
        Command::Create(CreateArguments { role, tenant, expires, name, json }) => {
            names::expect_tenant(&store, tenant.as_ref()).await?;
            let expires_at = expires.map(|expires| match expires {
                Expiry::At(time) => Some(time),
                Expiry::After(span) => now.checked_add_signed(span),
            });
            let new = NewToken {
                name: name.unwrap_or_else(|| role.as_str().to_owned()),
                role,
                tenant,
                expires_at: expires_at.flatten(),
            };
            let (token, text) = tokens.create(new).await?;
            context.subjects.made(Subject::Token(token.id));
            if json {
                print::json(&json!({ "token": text.expose(), "details": token }))?;
            } else {
                print::line(text.expose())?;
            }
            print::note(&format!(
                "the token is above, shown only now; `backline tokens revoke {}` revokes it",
                token.id
            ));
        }
        Command::List { json } => {
            let none = "there is no token; `backline tokens create` makes one";
            print::listing(json, &tokens.list().await?, &HEADERS, |token| cells(token, now), none)?;
        }
        Command::Revoke { id, json } => {
            // Refused before it is looked up: neither a message nor the audit log may repeat it.
            if let Some(id) = Tokens::id_in(&id.to_string()) {
                return Err(Failure::usage(format!(
                    "this is a token itself, which is secret; `backline tokens revoke {id}` revokes it"
                )));
            }
            let token = tokens.revoke(id.find(&store).await?).await?;
            if json {
                print::json(&token)?;
            } else {
                print::line(&revoked(&token))?;
            }
        }
    }
    Ok(Exit::Done)
}

/// Columns of a token.
pub(in crate::cli) const HEADERS: [&str; 8] =
    ["#id", "name", "role", "?tenant", "state", "??made", "?expires", "??last used"];

fn revoked(token: &ApiToken) -> String {
    format!("revoked the token {} ({}, {})", token.id, token.name, token.role.as_str())
}

fn cells(token: &ApiToken, now: DateTime<Utc>) -> Vec<String> {
    let time = |time: Option<_>| time.map_or_else(|| print::NONE.to_owned(), print::time);
    vec![
        token.id.to_string(),
        token.name.clone(),
        token.role.as_str().to_owned(),
        token.tenant.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string),
        token.state(now).as_str().to_owned(),
        print::time(token.created_at),
        time(token.expires_at),
        time(token.last_used_at),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_expires_at_a_time_or_after_a_duration() {
        assert_eq!(expiry("90d"), Ok(Expiry::After(TimeDelta::days(90))));
        let time = "2027-01-01T00:00:00Z".parse().expect("a time");
        assert_eq!(expiry("2027-01-01"), Ok(Expiry::At(time)));
        assert!(expiry("soon").is_err() && expiry("90").is_err());
    }
}
