//! What an erasure leaves in the file of a SQLite database: nothing.

use std::path::Path;

use backline_model::{Account, AccountId, Artist, ArtistId};
use backline_store::{DatabaseKind, Scope};
use uuid::Uuid;

use super::fixtures::{account, artist, now};
use crate::support::bytes;
use crate::support::database::each_database;

/// Artists in the database: enough that rows are moved between pages.
const ARTISTS: u128 = 400;

/// An id whose place in an index has nothing to do with when it was made.
fn scattered(n: u128) -> Uuid {
    Uuid::from_u128(n.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835))
}

fn known(n: u128) -> Artist {
    Artist { id: ArtistId(scattered(n)), name: format!("Name-{n}-of-an-artist"), ..artist(n) }
}

fn on_platform(n: u128) -> Account {
    let platform_id = format!("channel-{n}-of-an-artist");
    Account { id: AccountId(scattered(n + ARTISTS)), artist_id: known(n).id, platform_id, ..account(n) }
}

fn holds(file: &Path, text: &str) -> bool {
    bytes::holds(&std::fs::read(file).unwrap_or_default(), text)
}

#[tokio::test]
async fn no_file_of_the_database_holds_an_id_or_a_name_after_an_erasure() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            assert!(store.traces_remove().await, "its files are the server's");
            return;
        }
        let all = Scope::all_tenants();
        // One by one, so that pages fill and are split again and again.
        for n in 1..=ARTISTS {
            store.artists_save(&all, &[known(n)], now()).await.unwrap();
            store.accounts_save(&all, &[on_platform(n)], now()).await.unwrap();
        }
        let erased: Vec<u128> = (1..=ARTISTS).step_by(80).collect();
        for n in &erased {
            store.artist_erase(&all, known(*n).id, now()).await.unwrap().expect("the artist");
        }
        assert!(store.traces_remove().await);
        let path = url.strip_prefix("sqlite://").unwrap();
        for file in [path.to_owned(), format!("{path}-wal")] {
            for n in &erased {
                let (artist, account) = (known(*n), on_platform(*n));
                for text in [artist.id.to_string(), artist.name, account.id.to_string(), account.platform_id] {
                    assert!(!holds(Path::new(&file), &text), "{file} holds {text}");
                }
            }
        }
        assert!(holds(Path::new(path), &known(2).name), "the others stay");
    })
    .await;
}
