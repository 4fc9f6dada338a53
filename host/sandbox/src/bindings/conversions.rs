//! Conversions between the model's types and those of the contract whose text is the same in every version of it. The
//! types are others for each version, so the macro makes the functions for the version's own.

/// Makes the conversions for the `http`, `types` and `Bindings` that are in scope.
macro_rules! conversions {
    () => {
        /// Calls `check`.
        pub(super) async fn check(
            instance: &Bindings,
            accessor: &Accessor<CallState>,
            account: FetchAccount,
        ) -> wasmtime::Result<Result<String, FetchError>> {
            let account = account_to_wit(account);
            let name = instance.backline_connector_source().call_check(accessor, account).await?;
            Ok(name.map_err(fetch_error_from_wit))
        }

        /// Calls `normalize`.
        pub(super) async fn normalize(
            instance: &Bindings,
            accessor: &Accessor<CallState>,
            documents: Vec<DocumentInput>,
        ) -> wasmtime::Result<Vec<Result<Snapshot, String>>> {
            let documents = documents.into_iter().map(document_to_wit).collect();
            let snapshots = instance.backline_connector_source().call_normalize(accessor, documents).await?;
            Ok(snapshots.into_iter().map(|snapshot| snapshot.map(snapshot_from_wit)).collect())
        }

        fn account_to_wit(account: FetchAccount) -> types::Account {
            types::Account {
                id: account.id.to_string(),
                platform_id: account.platform_id,
                settings: account.settings,
                state: account.state,
            }
        }

        fn window_to_wit(window: Window) -> types::Window {
            types::Window { since: window.since.timestamp(), until: window.until.timestamp() }
        }

        fn document_to_wit(document: DocumentInput) -> types::Document {
            types::Document {
                body: document.body,
                window: window_to_wit(document.window),
                observed_at: document.observed_at.timestamp(),
            }
        }

        pub(crate) fn request_from_wit(request: http::Request) -> backline_gateway::Request {
            backline_gateway::Request {
                method: match request.method {
                    http::Method::Get => Method::Get,
                    http::Method::Head => Method::Head,
                    http::Method::Post => Method::Post,
                    http::Method::Put => Method::Put,
                    http::Method::Patch => Method::Patch,
                    http::Method::Delete => Method::Delete,
                },
                url: request.url,
                headers: request.headers,
                body: request.body,
                credential: request.credential.map(|credential| backline_gateway::CredentialRef {
                    slot: credential.slot,
                    account: credential.account,
                }),
            }
        }

        pub(crate) fn response_to_wit(response: backline_gateway::Response) -> http::Response {
            http::Response { status: response.status, headers: response.headers, body: response.body }
        }

        pub(crate) fn send_error_to_wit(error: backline_gateway::SendError) -> http::Error {
            match error {
                backline_gateway::SendError::Denied(why) => http::Error::Denied(why),
                backline_gateway::SendError::CredentialUnavailable(why) => http::Error::CredentialUnavailable(why),
                backline_gateway::SendError::RateLimited(seconds) => http::Error::RateLimited(seconds),
                backline_gateway::SendError::QuotaExhausted(until) => {
                    http::Error::QuotaExhausted(until.map(|until| until.timestamp()))
                }
                backline_gateway::SendError::TimedOut => http::Error::TimedOut,
                backline_gateway::SendError::Unreachable(why) => http::Error::Unreachable(why),
                backline_gateway::SendError::TooLarge(limit) => http::Error::TooLarge(limit),
            }
        }

        fn fetch_error_from_wit(error: types::FetchError) -> FetchError {
            match error {
                types::FetchError::NotFound => FetchError::NotFound,
                types::FetchError::Unauthorized(why) => FetchError::Unauthorized(why),
                types::FetchError::Reconnect(why) => FetchError::Reconnect(why),
                types::FetchError::Forbidden(why) => FetchError::Forbidden(why),
                types::FetchError::Misconfigured(why) => FetchError::Misconfigured(why),
                types::FetchError::RateLimited(seconds) => FetchError::RateLimited(seconds),
                // A time before 1970 or after 9999 is ignored: the host then finds the reset time in the manifest's
                // budget.
                types::FetchError::QuotaExhausted(until) => FetchError::QuotaExhausted(until.and_then(time_of)),
                types::FetchError::Unavailable(why) => FetchError::Unavailable(why),
                types::FetchError::Unexpected(why) => FetchError::Unexpected(why),
            }
        }

        fn snapshot_from_wit(snapshot: types::Snapshot) -> Snapshot {
            Snapshot {
                metrics: snapshot.metrics.into_iter().map(metric_from_wit).collect(),
                engagement: snapshot.engagement.map(|engagement| Engagement {
                    interactions: engagement.interactions,
                    base: engagement.base,
                    basis: match engagement.basis {
                        types::EngagementBasis::Followers => EngagementBasis::Followers,
                        types::EngagementBasis::Views => EngagementBasis::Views,
                        types::EngagementBasis::Reach => EngagementBasis::Reach,
                    },
                    posts_counted: engagement.posts_counted,
                    posts_skipped: engagement.posts_skipped,
                }),
                notes: snapshot.notes,
            }
        }

        fn metric_from_wit(metric: types::Metric) -> Reported {
            Reported {
                name: metric.name,
                value: match metric.value {
                    Ok(types::Value::Integer(integer)) => Ok(Value::Integer(integer)),
                    Ok(types::Value::Decimal(decimal)) => Ok(Value::Decimal(decimal)),
                    Ok(types::Value::Text(text)) => Ok(Value::Text(text)),
                    Ok(types::Value::Texts(texts)) => Ok(Value::Texts(texts)),
                    Err(types::Absence::NotOffered) => Err(Absence::NotOffered),
                    Err(types::Absence::Hidden) => Err(Absence::Hidden),
                    Err(types::Absence::NotAuthorized) => Err(Absence::NotAuthorized),
                    Err(types::Absence::NotFound) => Err(Absence::NotFound),
                    Err(types::Absence::Unavailable) => Err(Absence::Unavailable),
                },
                coverage: metric
                    .coverage
                    .map(|coverage| Coverage { counted: coverage.counted, skipped: coverage.skipped }),
            }
        }

        /// A metric that a platform refuses by name.
        fn lost_from_wit(lost: types::LostMetric) -> LostMetric {
            LostMetric { name: lost.name, reason: lost.reason }
        }
    };
}

pub(super) use conversions;
