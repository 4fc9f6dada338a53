//! Several calls at once, with their results in order.

use std::future::Future;

use futures::stream::{self, StreamExt as _};

/// Calls `act` for every item, at most `at_once` calls at a time, and returns the results in the order of the items.
///
/// ```
/// # futures::executor::block_on(async {
/// let doubled = backline_sdk::gather([1, 2, 3], 2, |number| async move { number * 2 }).await;
/// assert_eq!(doubled, [2, 4, 6]);
/// # });
/// ```
pub async fn gather<T, F, Fut>(items: impl IntoIterator<Item = T>, at_once: usize, act: F) -> Vec<Fut::Output>
where
    F: FnMut(T) -> Fut,
    Fut: Future,
{
    stream::iter(items).map(act).buffered(at_once.max(1)).collect().await
}
