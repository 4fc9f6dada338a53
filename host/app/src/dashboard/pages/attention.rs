//! The accounts that can't be collected until someone does something.

use maud::html;

use super::{Ask, ROWS};
use crate::dashboard::frame::{View, link, table, text};
use crate::dashboard::refusal::Refusal;
use crate::pipeline::{AttentionFilter, accounts_that_need_someone};

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
            text(&one.platform_id),
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
