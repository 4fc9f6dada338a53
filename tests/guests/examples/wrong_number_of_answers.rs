//! Returns no result for the last account, nor for the last document.

#[cfg(target_arch = "wasm32")]
mod component {
    use backline_guests::{echo_all, followers};
    use backline_sdk::bindings::{export, exports::backline::connector::source};
    use backline_sdk::prelude::*;

    struct Guest;

    // Implements the bindings directly: the SDK's trait handles one document at a time and can't omit one.
    impl source::Guest for Guest {
        async fn check(account: Account) -> Result<String, FetchError> {
            Ok(account.platform_id)
        }

        async fn fetch(accounts: Vec<Account>, _context: Context) -> BatchResult {
            echo_all(&accounts[..accounts.len() - 1])
        }

        fn normalize(documents: Vec<Document>) -> Vec<Result<Snapshot, String>> {
            documents[..documents.len() - 1].iter().map(followers).collect()
        }
    }

    export!(Guest with_types_in backline_sdk::bindings);
}
