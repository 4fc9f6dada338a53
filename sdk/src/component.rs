//! The macro that exports a connector as a component.

/// Logs the message and location of a panic before it traps. Without this the host sees only `unreachable`.
#[cfg(target_arch = "wasm32")]
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| crate::log::write(crate::log::Level::Error, &panic.to_string())));
}

/// Exports a type that implements [`Connector`](crate::Connector) from the component.
#[macro_export]
macro_rules! export_connector {
    ($connector:ty) => {
        // A native build exports nothing, but a type that can't be exported must still fail to compile.
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() = || {
            fn is_connector<C: $crate::Connector>() {}
            is_connector::<$connector>();
        };

        #[cfg(target_arch = "wasm32")]
        mod backline_component {
            use $crate::exported::{BatchResult, Context};
            use $crate::{Account, Connector, Document, FetchError, Snapshot};

            use super::*;

            struct Component;

            impl $crate::bindings::exports::backline::connector::source::Guest for Component {
                async fn check(account: Account) -> Result<String, FetchError> {
                    $crate::log_panics();
                    <$connector as Connector>::check(&$crate::Http::host(), account).await
                }

                async fn fetch(accounts: Vec<Account>, context: Context) -> BatchResult {
                    $crate::log_panics();
                    $crate::exported::fetch::<$connector>(&$crate::Http::host(), accounts, context).await
                }

                fn normalize(documents: Vec<Document>) -> Vec<Result<Snapshot, String>> {
                    $crate::log_panics();
                    documents.into_iter().map(<$connector as Connector>::normalize).collect()
                }
            }

            $crate::bindings::export!(Component with_types_in $crate::bindings);
        }
    };
}
