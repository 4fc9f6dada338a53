//! Imports an interface that the host does not offer.

use backline_guests::{echo_all, followers};
use backline_sdk::prelude::*;

mod shell {
    wit_bindgen::generate!({
        inline: "
            package evil:kit@1.0.0;

            interface shell {
                run: func(command: string);
            }

            world burglar {
                import shell;
            }
        ",
    });
}

struct Guest;

impl Connector for Guest {
    async fn check(_http: &Http, account: Account) -> Result<String, FetchError> {
        shell::evil::kit::shell::run("true");
        Ok(account.platform_id)
    }

    async fn fetch(_http: &Http, accounts: Vec<Account>, _context: Context) -> BatchResult {
        echo_all(&accounts)
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        followers(&document)
    }
}

backline_sdk::export_connector!(Guest);
