//! Acts on what can't be read: an act needs no more of a row than its key, and the entry of the act says whose it was.

use backline_model::Role;
use backline_store::{AuditFilter, CredentialFilter, Scope};
use serde_json::json;

use super::Answering;
use crate::store::fixtures::{account, artist};
use crate::store::scope::{credential, fill};
use crate::support::database::{each_database, spoil};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_t_be_read_is_removed_and_its_entries_go_with_its_artist() {
    each_database(async |store, url| {
        fill(&store).await;
        let (all, of, secret) = (Scope::all_tenants(), artist(2).id, credential(2).id);
        let of_account = |n: u128| format!("id = '{}'", account(n).id);
        spoil(url, "accounts", "status", "'odd'", &of_account(2)).await;
        spoil(url, "accounts", "platform", "'No Name'", &of_account(3)).await;
        spoil(url, "credentials", "platform", "'No Name'", &format!("id = '{secret}'")).await;
        spoil(url, "webhooks", "kind", "'odd'", "name = 'hook-theirs'").await;
        let answering = Answering::on(url).await;
        let admin = answering.caller(Role::Admin, None).await;

        let timeline = admin.get(&format!("/v1/accounts/{}/timeline", account(2).id)).await;
        assert_eq!(timeline.status, 200, "{}", timeline.body);
        let reason = "{\"reason\": \"a wrong id\"}";
        for (path, body) in [
            (format!("/v1/credentials/{secret}/remove"), ""),
            (format!("/v1/accounts/{}/remove", account(2).id), reason),
            (format!("/v1/accounts/{}/remove", account(3).id), reason),
            ("/v1/webhooks/hook-theirs/remove".to_owned(), ""),
        ] {
            let removed = admin.post(&path, body).await;
            assert_eq!(removed.status, 200, "{path}: {}", removed.body);
            let again = admin.post(&path, body).await;
            assert_eq!(again.status, 404, "{path}: {}", again.body);
        }
        let left = store.credentials_list(&all, &CredentialFilter::default()).await.unwrap();
        assert_eq!(left.iter().map(|one| one.id).collect::<Vec<_>>(), [credential(1).id]);
        assert!(store.unreadable_rows().is_empty(), "none of them is left");

        let about = |artist| AuditFilter { artist, ..AuditFilter::default() };
        let log = store.audit_list(&all, &about(Some(of))).await.unwrap();
        let acts: Vec<&str> = log.iter().map(|entry| entry.act.action.as_str()).collect();
        assert_eq!(acts, ["accounts remove", "accounts remove", "credentials remove"], "the latest first: {log:?}");
        let was = |n: usize| log[n].act.before.clone().expect("what it was");
        assert_eq!(was(1)["account"], json!({ "unreadable": "status" }));
        assert_eq!(was(2)[format!("credential {secret}")], json!({ "unreadable": "platform" }));

        // Not even the artist's row can be read.
        spoil(url, "artists", "timezone", "'Mars/Phobos'", &format!("id = '{of}'")).await;
        let consents = admin.get(&format!("/v1/artists/{of}/consents")).await;
        assert_eq!(consents.status, 200, "{}", consents.body);
        let erased = admin.post(&format!("/v1/artists/{of}/erase"), "").await;
        assert_eq!(erased.status, 200, "{}", erased.body);
        let log = store.audit_list(&all, &about(None)).await.unwrap();
        assert!(!format!("{log:?}").contains("a wrong id"), "the reasons went with the artist: {log:?}");
    })
    .await;
}
