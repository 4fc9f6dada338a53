//! Finds the ids for which a platform refuses a whole list.

use std::collections::VecDeque;
use std::future::Future;

use crate::FetchError;

/// Refusals in a row, without one answer, after which the request itself is taken to be at fault: a list of 50 was
/// halved three times by then.
const REFUSALS_MAX: usize = 15;

/// Asks for many ids at once. A list that is refused as a whole is asked in halves, until each id at fault is alone.
///
/// `speaks_of_list` says whether an error may be the fault of one id. Any other error, such as a rate limit, is the
/// result of its list. Returns the answers with the ids that each covers, in no particular order.
///
/// One id at fault among 50 costs at most 12 requests more. If nothing is answered at all, the platform refuses
/// the request and not an id, and the rest is not asked.
pub async fn halves<I: Clone, T, F, Fut>(
    ids: &[I],
    speaks_of_list: impl Fn(&FetchError) -> bool,
    mut ask: F,
) -> Vec<(Vec<I>, Result<T, FetchError>)>
where
    F: FnMut(Vec<I>) -> Fut,
    Fut: Future<Output = Result<T, FetchError>>,
{
    let mut waiting = VecDeque::from([ids.to_vec()]);
    let mut results = Vec::new();
    let (mut refusals, mut is_any_answered) = (0_usize, false);
    while let Some(ids) = waiting.pop_front() {
        match ask(ids.clone()).await {
            Err(error) if speaks_of_list(&error) => {
                refusals += 1;
                if !is_any_answered && refusals >= REFUSALS_MAX {
                    results.push((ids, Err(error.clone())));
                    results.extend(waiting.drain(..).map(|ids| (ids, Err(error.clone()))));
                } else if ids.len() > 1 {
                    let (first, second) = ids.split_at(ids.len() / 2);
                    waiting.extend([first.to_vec(), second.to_vec()]);
                } else {
                    results.push((ids, Err(error)));
                }
            }
            other => {
                is_any_answered |= other.is_ok();
                results.push((ids, other));
            }
        }
    }
    results
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// The ids that failed, and the number of requests, if the platform refuses every list with one of `bad`.
    fn run(count: u32, bad: &[u32]) -> (Vec<u32>, usize) {
        let asked = Cell::new(0);
        let ids: Vec<u32> = (0..count).collect();
        let results = futures::executor::block_on(halves(
            &ids,
            |error| matches!(error, FetchError::Unexpected(_)),
            |ids| {
                asked.set(asked.get() + 1);
                let refused = ids.iter().any(|id| bad.contains(id));
                async move { if refused { Err(FetchError::Unexpected("invalid".into())) } else { Ok(()) } }
            },
        ));
        let mut seen: Vec<u32> = results.iter().flat_map(|(ids, _)| ids.clone()).collect();
        seen.sort_unstable();
        assert_eq!(seen, ids, "every id has one result");
        let failed = results.into_iter().filter(|(_, result)| result.is_err()).flat_map(|(ids, _)| ids).collect();
        (failed, asked.get())
    }

    #[test]
    fn an_id_at_fault_fails_alone() {
        assert_eq!(run(50, &[]), (vec![], 1));
        let (failed, asked) = run(50, &[17]);
        assert_eq!(failed, [17]);
        assert!(asked <= 13, "{asked}");
        let (mut failed, _) = run(50, &[0, 24, 49]);
        failed.sort_unstable();
        assert_eq!(failed, [0, 24, 49]);
        assert_eq!(run(1, &[0]), (vec![0], 1));
    }

    #[test]
    fn a_request_at_fault_is_not_asked_for_every_id() {
        let all: Vec<u32> = (0..50).collect();
        let (mut failed, asked) = run(50, &all);
        failed.sort_unstable();
        assert_eq!((failed.len(), asked), (50, REFUSALS_MAX));
    }
}
