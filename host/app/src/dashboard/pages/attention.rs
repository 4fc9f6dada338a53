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
    let mut found = accounts_that_need_someone(ask.store(), &ask.scope(), &filter).await?;
    let next = ask.cut(&mut found, |one| one.account_id);
    let rows = found.iter().map(|one| {
        vec![
            link(&format!("/artists/{}", one.artist_id), &one.artist),
            text(&one.platform),
            text(&one.platform_id),
            text(&one.problem),
            text(&one.remedy),
        ]
    });
    let heads = ["Artist", "Platform", "Id there", "Problem", "What to do"];
    let body = html! {
        (table("Accounts that fail until someone acts", &heads, rows.collect(), "No account needs anyone."))
        (next)
    };
    Ok(View::new("Accounts that need someone", "/attention", body))
}
