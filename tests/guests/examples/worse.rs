//! The next version of `well_behaved`, which is worse. The prefix of an account's id decides: `trap-` panics in `fetch`
//! and `unread-` in `normalize`; `nobody-` is not known, and `closed-` not permitted; `hide-` reports nothing, `minus-`
//! a value that validation withholds, `more-` one more follower.

use backline_guests::echo_all;
use backline_sdk::prelude::*;

struct Guest;

impl Connector for Guest {
    async fn check(_http: &Http, account: Account) -> Result<String, FetchError> {
        if account.platform_id.starts_with("trap-") {
            return Err(FetchError::Forbidden("the id has the prefix trap-".to_owned()));
        }
        Ok(account.platform_id)
    }

    async fn fetch(_http: &Http, accounts: Vec<Account>, _context: Context) -> BatchResult {
        assert!(!accounts.iter().any(|account| account.platform_id.starts_with("trap-")), "an id has the prefix trap-");
        let mut result = echo_all(&accounts);
        for (fetched, account) in result.accounts.iter_mut().zip(&accounts) {
            if account.platform_id.starts_with("nobody-") {
                *fetched = Err(FetchError::NotFound);
            } else if account.platform_id.starts_with("closed-") {
                *fetched = Err(FetchError::Forbidden("the id has the prefix closed-".to_owned()));
            }
        }
        result
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        let json = document.json()?;
        let (id, followers) = (json["platform_id"].as_str().unwrap_or_default(), json["followers"].as_i64());
        let is = |prefix: &str| id.starts_with(prefix);
        assert!(!is("unread-"), "the id has the prefix unread-");
        let followers = match followers {
            Some(_) if is("hide-") => json!(null),
            Some(followers) if is("minus-") => json!(-followers),
            Some(followers) if is("more-") => json!(followers + 1),
            _ => json["followers"].clone(),
        };
        Ok(Snapshot::builder().count("followers", &followers, Absence::Hidden).build())
    }
}

backline_sdk::export_connector!(Guest);
