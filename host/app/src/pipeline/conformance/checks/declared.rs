//! What the manifest declares and what the connector does: the catalogue, what is used, what a batch costs, and how ids
//! get into requests.

use std::collections::BTreeSet;

use super::bench::{Bench, Change, Made};
use super::report::CheckResult;
use backline_gateway::{Exchange, Response};
use backline_model::manifest::Of;
use backline_model::metric::names::ENGAGEMENT_RATE;
use backline_model::{Absence, FetchAccount, Origin};

/// An id with everything that has a meaning in a URL. None of its parts occurs in anything else.
const HOSTILE_ID: &str = "zqa/../zqb?zqc=1&zqd=2#zqe";

/// Parts of it that are only seen in a URL if they were not encoded.
const SEEN_RAW: [&str; 4] = ["/zqb", "?zqc=", "&zqd=", "zqb?"];

/// Every snapshot reports every metric of the catalogue once, in its kind, and nothing else.
pub(super) fn catalogue(bench: &Bench, alone: &[Made]) -> CheckResult {
    let mut check = CheckResult::new("catalogue");
    for (account, made) in bench.accounts.iter().zip(alone) {
        check.cases += 1;
        let id = &account.platform_id;
        let mut seen = BTreeSet::new();
        for metric in &made.snapshot.metrics {
            if !seen.insert(metric.name.as_str()) {
                check.found(id, format!("{} is reported twice", metric.name));
            }
            if metric.value.is_ok() && bench.manifest.metric(&metric.name).is_none() {
                check.found(id, format!("{} is reported and not in the catalogue", metric.name));
            }
        }
        for entry in bench.manifest.metrics.iter().filter(|entry| entry.name.as_str() != ENGAGEMENT_RATE) {
            if !seen.contains(entry.name.as_str()) {
                check.found(id, format!("{} is not reported; give the reason why it is missing", entry.name));
            }
        }
        // The host counts what does not fit as missing, so the connector's author has to be told.
        let conformed = backline_rules::conform::conform(made.snapshot.clone(), &bench.manifest);
        for misfit in conformed.misfits {
            let value = misfit.value.as_ref().map_or(String::new(), super::faults::text);
            check.found(id, format!("{} can't be {value}; its kind in the catalogue does not allow it", misfit.name));
        }
    }
    check
}

/// Every host, slot and metric that is declared is used by some recording.
pub(super) fn used(bench: &Bench, alone: &[Made], exchanges: &[Vec<Exchange>]) -> CheckResult {
    let mut check = CheckResult::new("declared");
    let sent: Vec<&Exchange> = exchanges.iter().flatten().collect();
    for host in &bench.manifest.hosts {
        check.cases += 1;
        let is_asked = sent.iter().any(|exchange| {
            let origin = exchange.asked.url.parse().ok().and_then(|url| Origin::of(&url).ok());
            origin.is_some_and(|origin| host.origin.matches(&origin))
        });
        if !is_asked {
            check.found(
                host.origin.to_string(),
                "no recording asks this host; remove it, or record an account that does",
            );
        }
    }
    for slot in &bench.manifest.credentials {
        check.cases += 1;
        let named = |exchange: &&Exchange| {
            exchange.asked.credential.as_ref().is_some_and(|credential| credential.slot == slot.slot)
        };
        if !sent.iter().any(named) {
            check.found(&slot.slot, "no request uses this slot; remove it, or record an account whose requests do");
        }
    }
    for entry in &bench.manifest.metrics {
        check.cases += 1;
        let name = entry.name.as_str();
        let is_exercised = alone.iter().any(|made| match name {
            ENGAGEMENT_RATE => made.snapshot.engagement.is_some(),
            _ => made
                .metric(name)
                .is_some_and(|metric| !matches!(&metric.value, Err(absence) if *absence != Absence::NotOffered)),
        });
        if !is_exercised {
            check.found(name, "no recording has a value of this metric; record an account that has one");
        }
    }
    check
}

/// A batch sends no more requests than the manifest's `[[request]]` tables say at most.
pub(super) async fn cost(bench: &Bench) -> CheckResult {
    let mut check = CheckResult::new("cost");
    let requests = &bench.manifest.requests;
    if requests.is_empty() {
        check.skipped = Some("the manifest has no [[request]]; `backline plan` can't say what a run costs".to_owned());
        return check;
    }
    let ran = bench.run(&bench.accounts).await;
    if let Some(missing) = ran.missing.first() {
        check.skipped = Some(format!("{missing}; record the accounts of a batch together to have this checked"));
        return check;
    }
    check.cases += 1;
    let accounts = bench.accounts.len() as u64;
    // Accounts without state are new ones.
    let declared: u64 = requests
        .iter()
        .filter(|request| request.of != Of::Known)
        .fold(0_u64, |sum, request| sum.saturating_add(request.most_for(1, accounts)));
    let sent = ran.exchanges.len() as u64;
    if sent > declared {
        let case = format!("a batch of {accounts} new accounts");
        let remedy = "declare what is usual as count, and what a busy account takes as most";
        check.found(case, format!("it sends {sent} requests, and [[request]] declares {declared}; {remedy}"));
    }
    check
}

/// An id gets into a URL encoded, so that it can't reach another address.
pub(super) async fn ids(bench: &Bench) -> CheckResult {
    let mut check = CheckResult::new("ids");
    let Some(first) = bench.accounts.first() else { return check };
    let account = FetchAccount { platform_id: HOSTILE_ID.to_owned(), ..first.clone() };
    let nothing: Change = Box::new(|_, _| Ok(Response { status: 404, headers: Vec::new(), body: b"{}".to_vec() }));
    check.cases += 1;
    // A connector may refuse such an id without a request.
    let Some(ran) = bench.run_changed(&[account], nothing).await else { return check };
    for exchange in &ran.exchanges {
        let url = &exchange.asked.url;
        if SEEN_RAW.iter().any(|part| url.contains(part)) {
            check.found(HOSTILE_ID, format!("it asks {url}; percent-encode ids, they may hold anything"));
        }
    }
    match ran.accounts.map(|accounts| accounts.into_iter().next()) {
        Err(why) => check.found(HOSTILE_ID, why),
        Ok(Some(Ok(made))) => {
            if !made.numbers().is_empty() {
                check.found(HOSTILE_ID, "an account that does not exist has numbers");
            }
        }
        Ok(_) => {}
    }
    check
}
