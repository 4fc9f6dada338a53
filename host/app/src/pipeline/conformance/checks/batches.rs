//! Accounts of one batch: each gets its own numbers, whichever others are in it and whatever happens to another.

use super::bench::{Bench, Change, Made, Ran, Unmade};
use super::report::CheckResult;
use backline_gateway::Response;
use backline_model::{AccountId, FetchAccount};

/// Status of the platform's failure for one account.
const FAILURE: u16 = 500;

/// The same numbers at each try, from the same answers and from the same document, whatever the host calls the account.
pub(super) async fn determinism(bench: &Bench, alone: &[Made]) -> CheckResult {
    let mut check = CheckResult::new("determinism");
    for (account, before) in bench.accounts.iter().zip(alone) {
        check.cases += 1;
        let id = &account.platform_id;
        // The host's own id says nothing about the artist, and is another one in each database.
        let renamed = FetchAccount { id: AccountId::generate(), ..account.clone() };
        match only(bench.run(&[renamed]).await) {
            Ok(again) if again.body != before.body => check.found(
                id,
                "the same answers gave another document; take nothing from clocks, random numbers or the host's id of \
                 the account",
            ),
            Ok(again) if again.snapshot != before.snapshot => {
                check.found(
                    id,
                    "the same document gave other metrics; normalize may depend on nothing but its document",
                );
            }
            Ok(_) => {}
            Err(why) => check.found(id, format!("it worked once and then not: {why}")),
        }
    }
    check
}

/// A batch gives each account what it gets alone, in any order.
pub(super) async fn batch(bench: &Bench, alone: &[Made]) -> CheckResult {
    let mut check = CheckResult::new("batch");
    let differ = alone
        .iter()
        .enumerate()
        .all(|(index, one)| alone[..index].iter().all(|other| other.snapshot.metrics != one.snapshot.metrics));
    if !differ {
        check.skipped = Some("two accounts have the same metrics, so a mix-up can't be seen; record others".to_owned());
    }
    let forward: Vec<usize> = (0..alone.len()).collect();
    let backward: Vec<usize> = forward.iter().rev().copied().collect();
    let mut rotated = forward.clone();
    rotated.rotate_left(1);
    for order in [forward, backward, rotated] {
        let accounts: Vec<FetchAccount> = order.iter().map(|&index| bench.accounts[index].clone()).collect();
        let names: Vec<&str> = accounts.iter().map(|account| account.platform_id.as_str()).collect();
        let case = format!("a batch of {}", names.join(", "));
        let ran = bench.run(&accounts).await;
        if let Some(missing) = ran.missing.first() {
            check.skipped = Some(not_recorded(missing));
            return check;
        }
        check.cases += 1;
        match ran.accounts {
            Err(why) => check.found(case, why),
            Ok(made) => {
                for (&index, made) in order.iter().zip(made) {
                    let id = &bench.accounts[index].platform_id;
                    match made {
                        Ok(made) if made.snapshot.metrics == alone[index].snapshot.metrics => {}
                        Ok(made) => {
                            let owner = alone.iter().position(|other| other.snapshot.metrics == made.snapshot.metrics);
                            let whose = owner.map_or("other numbers than alone".to_owned(), |other| {
                                format!("the numbers of {}", bench.accounts[other].platform_id)
                            });
                            check.found(&case, format!("{id} gets {whose}; {}", rule(bench)));
                        }
                        Err(why) => check.found(&case, format!("{id} works alone and fails here: {}", shown(&why))),
                    }
                }
            }
        }
    }
    check
}

/// The platform's failure for one account touches no other.
pub(super) async fn isolation(bench: &Bench, alone: &[Made]) -> CheckResult {
    let mut check = CheckResult::new("isolation");
    for (index, failing) in bench.accounts.iter().enumerate() {
        let change = failing_for(bench, failing);
        let Some(ran) = bench.run_changed(&bench.accounts, change).await else { continue };
        if let Some(missing) = ran.missing.first() {
            check.skipped = Some(not_recorded(missing));
            return check;
        }
        check.cases += 1;
        let case = format!("the platform fails for {}", failing.platform_id);
        match ran.accounts {
            Err(why) => check.found(case, why),
            Ok(made) => {
                for (other, made) in made.into_iter().enumerate().filter(|(other, _)| *other != index) {
                    let id = &bench.accounts[other].platform_id;
                    match made {
                        Ok(made) if made.snapshot.metrics == alone[other].snapshot.metrics => {}
                        Ok(_) => check.found(&case, format!("{id} gets other numbers than alone")),
                        Err(why) => check.found(&case, format!("{id} fails too: {}", shown(&why))),
                    }
                }
            }
        }
    }
    check
}

/// How an answer belongs to its account.
fn rule(bench: &Bench) -> &'static str {
    if bench.connector.names_accounts() {
        "each answer names the account that it is about"
    } else {
        "answers stand in the order of the accounts"
    }
}

/// Fails the requests that are about one account alone: they name it, or they name none and have its credential.
fn failing_for(bench: &Bench, account: &FetchAccount) -> Change {
    let all: Vec<String> = bench.accounts.iter().map(|account| account.platform_id.clone()).collect();
    let (account, host_id) = (account.platform_id.clone(), account.id.to_string());
    Box::new(move |asked, answer| {
        let body = asked.body.as_ref().map(|body| String::from_utf8_lossy(body).into_owned()).unwrap_or_default();
        let named: Vec<&String> = all.iter().filter(|id| asked.url.contains(*id) || body.contains(*id)).collect();
        // An id may be a part of another one.
        let is_part = |id: &String| named.iter().any(|other| other.len() > id.len() && other.contains(id));
        let meant: Vec<&String> = named.iter().copied().filter(|id| !is_part(id)).collect();
        let owner = asked.credential.as_ref().and_then(|credential| credential.account.as_ref());
        if meant == [&account] || (meant.is_empty() && owner == Some(&host_id)) {
            return Ok(Response { status: FAILURE, headers: Vec::new(), body: b"{}".to_vec() });
        }
        answer
    })
}

/// The only account of a batch.
pub(super) fn only(ran: Ran) -> Result<Made, String> {
    if let Some(missing) = ran.missing.first() {
        return Err(missing.clone());
    }
    match ran.accounts?.into_iter().next() {
        Some(Ok(made)) => Ok(made),
        Some(Err(why)) => Err(shown(&why)),
        None => Err("it gave no answer".to_owned()),
    }
}

pub(super) fn shown(why: &Unmade) -> String {
    match why {
        Unmade::Fetch(error) => format!("fetch: {error}"),
        Unmade::Normalize(error) => format!("normalize refuses the document that fetch made: {error}"),
    }
}

fn not_recorded(missing: &str) -> String {
    format!("{missing}; record the accounts of a batch together to have this checked")
}
