//! The accounts that can't be collected until someone does something, and the removal of one that was added by mistake.

use maud::html;

use super::{Ask, ROWS, id};
use crate::dashboard::frame::{View, form, link, table, text};
use crate::dashboard::refusal::Refusal;
use crate::dashboard::routes::FormAct;
use crate::pipeline::{AttentionFilter, accounts_that_need_someone};
use backline_model::AccountId;

pub(super) async fn view(ask: &Ask<'_>) -> Result<View, Refusal> {
    // It may read all accounts for a few.
    let _turn = ask.turn().await;
    let filter =
        AttentionFilter { platform: ask.platform().await?, after: ask.after()?, limit: Some(ROWS as usize + 1) };
    let reconnect = ask.host.config().service.reconnect_url.as_ref();
    let mut found = accounts_that_need_someone(ask.store(), &ask.scope(), reconnect, &filter).await?;
    let next = ask.cut(&mut found, |one| one.account_id);
    let rows = found.iter().map(|one| {
        vec![
            link(&format!("/artists/{}", one.artist_id), &one.artist),
            text(&one.platform),
            link(&format!("/accounts/{}/timeline", one.account_id), &one.platform_id),
            text(&one.problem),
            html! {
                (one.remedy)
                @if let Some(link) = &one.reconnect_url {
                    "; " a href=(link) rel="noreferrer" { "where the artist connects it" }
                }
            },
        ]
    });
    let heads = ["Artist", "Platform", "Id there", "Problem", "What to do"];
    let body = html! {
        (table("Accounts that fail until someone acts", &heads, rows.collect(), "No account needs anyone."))
        (next)
    };
    Ok(View::new("Accounts that need someone", "/attention", body))
}

/// Asks whether an account is to be removed.
pub(super) async fn remove(ask: &Ask<'_>, given: &str) -> Result<View, Refusal> {
    let account_id: AccountId = id("account", given)?;
    let unknown = || Refusal::not_found("account", account_id);
    let account = ask.store().account_place_get(&ask.scope(), account_id).await?.ok_or_else(unknown)?;
    let counted = ask.store().account_rows_count(&ask.scope(), account_id).await?.ok_or_else(unknown)?;
    let rows = counted.iter().filter(|(_, number)| **number > 0);
    let rows = rows.map(|(table, number)| vec![text(table), text(number)]);
    let reason = ask.typed("reason").unwrap_or_default();
    let body = html! {
        p {
            "The account goes with all that was collected of it, and with its tokens. That can't be undone. Its artist \
            stays. An import or a sync that still names the account adds it again."
        }
        (table("What is removed", &["Table", "Rows"], rows.collect(), "Nothing."))
        (form(ask.visitor, &FormAct::RemoveAccount(account_id.to_string()), &html! {
            div {
                label for="reason" { "Reason, kept in the audit log" }
                input id="reason" name="reason" maxlength="500" required value=(reason);
            }
            button.grave type="submit" { "Remove" }
        }))
        p { (link(&format!("/accounts/{account_id}/timeline"), "Leave it as it is")) }
    };
    Ok(View::new(format!("Remove {} {}?", account.platform, account.platform_id), "/artists", body))
}
