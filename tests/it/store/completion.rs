//! Tests of the transaction that completes a batch, and of its reads.

use std::collections::BTreeMap;

use backline_model::metric::names;
use backline_model::outcome::{FailureClass, Outcome};
use backline_model::{
    AccountStatus, BatchId, EngagementBasis, GrowthChange, GrowthRow, LostMetric, MetricsRow, RunId, Value,
};
use backline_store::{BatchResult, DatabaseKind, EventCursor, MetricsFilter, PluginLog, Scope, StoreError};
use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use sqlx::Row as _;
use sqlx::any::AnyPoolOptions;

use super::fixtures::{
    TTL, add_batches, artist, batch, create_run, day, document, event, followers, lease, metric, now, people, release,
    result, row, run, store_rows, stored,
};
use crate::support::database::{each_database, write};

fn back(date: NaiveDate, days: u64) -> NaiveDate {
    date - Days::new(days)
}

#[tokio::test]
async fn a_row_comes_back_as_it_was_stored() {
    each_database(async |store, _| {
        let accounts = people(&store, 2).await;
        let date = day("2026-11-22");
        let mut large = row(&accounts[0], date);
        large.values.extend([
            (metric(names::FOLLOWERS), Value::Integer(3_331_930_783)),
            (metric(names::TOTAL_VIEWS), Value::Integer(i64::MAX)),
            (metric(names::ENGAGEMENT_RATE), Value::Decimal(1234.56)),
            (metric(names::POPULARITY), Value::Decimal(57.0)),
            (metric("huge"), Value::Integer(i64::MAX)),
            (metric("hashtags"), Value::Texts(Vec::new())),
        ]);
        large.observed.insert(metric("saves"), now() - TimeDelta::microseconds(1));
        let mut bare = row(&accounts[1], date);
        bare.values.clear();
        bare.values.insert(metric(names::GENRES), Value::Texts(Vec::new()));
        bare.engagement = None;
        bare.findings.clear();
        store_rows(&store, vec![large.clone(), bare.clone()]).await;

        let read = store.metrics_list(&Scope::all_tenants(), &MetricsFilter::default()).await.unwrap();
        let expected = [MetricsRow { run_id: large.run_id, ..large.clone() }, bare.clone()];
        assert_eq!(read, expected);
        let document = store.document_get(&Scope::all_tenants(), large.document_id).await.unwrap();
        assert_eq!(document.as_deref(), Some(r#"{"followers":"2026-11-22"}"#));
        assert_eq!(
            store.document_get(&Scope::all_tenants(), backline_model::DocumentId::generate()).await.unwrap(),
            None
        );

        let id = backline_model::DocumentId::generate();
        let nul = MetricsRow { notes: vec!["a\0b \\u0000".to_owned()], document_id: id, ..bare };
        store_rows(&store, vec![nul]).await;
        let filter = MetricsFilter { account: Some(accounts[1].id), ..MetricsFilter::default() };
        assert_eq!(store.metrics_list(&Scope::all_tenants(), &filter).await.unwrap()[0].notes, ["ab \\u0000"]);
    })
    .await;
}

#[tokio::test]
async fn a_new_row_replaces_the_one_of_its_date() {
    each_database(async |store, _| {
        let [account] = people(&store, 1).await.try_into().unwrap();
        let date = day("2026-11-22");
        store_rows(&store, vec![followers(&account, date, 100)]).await;
        let planned = batch(1, &run(1), &[&account], date);
        add_batches(&store, &[planned], now()).await;
        let mut completion = store.completion_begin(&lease(&store).await, now()).await.unwrap();
        let past = completion.history_load(&[(account.id, date)]).await.unwrap().remove(&account.id).unwrap();
        let mut merged = past.existing.expect("the same date's row");
        assert_eq!(merged.values[names::FOLLOWERS], Value::Integer(100));
        assert!(past.history.is_empty() && past.later_dates.is_empty());
        merged.values.insert(metric(names::LIKES), Value::Integer(3));
        let result = BatchResult {
            accounts: vec![stored(MetricsRow { document_id: backline_model::DocumentId::generate(), ..merged })],
            ..BatchResult::default()
        };
        completion.commit(result).await.unwrap();

        let [read] =
            store.metrics_list(&Scope::all_tenants(), &MetricsFilter::default()).await.unwrap().try_into().unwrap();
        let values: Vec<_> = read.values.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        assert_eq!(values, [(names::FOLLOWERS, Value::Integer(100)), (names::LIKES, Value::Integer(3))]);
    })
    .await;
}

#[tokio::test]
async fn a_new_row_replaces_one_that_can_not_be_read() {
    each_database(async |store, url| {
        let [account] = people(&store, 1).await.try_into().unwrap();
        let date = day("2026-11-22");
        // Read well after the other one, and called by the same account.
        store_rows(&store, vec![followers(&account, back(date, 1), 90)]).await;
        store_rows(&store, vec![followers(&account, date, 100)]).await;
        let no_number = if store.kind() == DatabaseKind::Postgres { "'NaN'" } else { "9e999" };
        write(url, &format!("UPDATE metrics SET popularity = {no_number} WHERE metric_date = '{date}'")).await;
        let all = Scope::all_tenants();
        assert_eq!(store.metrics_list(&all, &MetricsFilter::default()).await.unwrap().len(), 1);
        store_rows(&store, vec![followers(&account, date, 200)]).await;
        let [read, _] = store.metrics_list(&all, &MetricsFilter::default()).await.unwrap().try_into().unwrap();
        assert_eq!(read.values[names::FOLLOWERS], Value::Integer(200));
    })
    .await;
}

#[tokio::test]
async fn a_row_that_can_not_be_read_is_replaced_beside_new_ones_and_on_a_past_date() {
    each_database(async |store, url| {
        let accounts = people(&store, 2).await;
        let (first, date) = (&accounts[0], day("2026-11-22"));
        let one_back = back(date, 1);
        for date in [one_back, date] {
            store_rows(&store, vec![followers(first, date, 100)]).await;
        }
        write(url, "UPDATE metrics SET absent = '[]'").await;
        let all = Scope::all_tenants();
        assert_eq!(store.metrics_list(&all, &MetricsFilter::default()).await.unwrap(), []);

        add_batches(&store, &[batch(1, &run(1), &[first, &accounts[1]], date)], now()).await;
        let mut completion = store.completion_begin(&lease(&store).await, now()).await.unwrap();
        let histories = completion.history_load(&[(first.id, one_back)]).await.unwrap();
        assert!(histories[&first.id].existing.is_none());
        completion.older_dates_add(vec![stored(followers(first, one_back, 200))]).await.unwrap();
        let wanted: Vec<_> = accounts.iter().map(|account| (account.id, date)).collect();
        completion.history_load(&wanted).await.unwrap();
        let rows = accounts.iter().map(|account| stored(followers(account, date, 300))).collect();
        completion.commit(BatchResult { accounts: rows, ..BatchResult::default() }).await.unwrap();

        let read = store.metrics_list(&all, &MetricsFilter::default()).await.unwrap();
        let mut values: Vec<_> =
            read.iter().map(|row| (row.metric_date, row.values[names::FOLLOWERS].as_i64())).collect();
        values.sort_unstable();
        assert_eq!(values, [(one_back, Some(200)), (date, Some(300)), (date, Some(300))]);
    })
    .await;
}

#[tokio::test]
async fn past_dates_are_compared_with_those_before_them_and_end_no_account() {
    each_database(async |store, _| {
        let accounts = people(&store, 2).await;
        let (first, date) = (&accounts[0], day("2026-11-22"));
        let [two_back, one_back] = [2, 1].map(|days| back(date, days));
        add_batches(&store, &[batch(1, &run(1), &[first, &accounts[1]], date)], now()).await;
        let held = lease(&store).await;
        store.months_ensure([two_back, one_back].into_iter()).await.unwrap();
        let rows = async || {
            let rows = store.metrics_list(&Scope::all_tenants(), &MetricsFilter::default()).await.unwrap();
            let mut dates: Vec<NaiveDate> = rows.iter().map(|row| row.metric_date).collect();
            dates.sort_unstable();
            dates
        };
        let mut dropped = store.completion_begin(&held, now()).await.unwrap();
        dropped.older_dates_add(vec![stored(followers(first, two_back, 10))]).await.unwrap();
        drop(dropped);
        assert!(rows().await.is_empty(), "nothing is written without the batch's own results");

        let mut completion = store.completion_begin(&held, now()).await.unwrap();
        completion.older_dates_add(vec![stored(followers(first, two_back, 10))]).await.unwrap();
        let past = completion.history_load(&[(first.id, one_back)]).await.unwrap().remove(&first.id).unwrap();
        assert!(past.existing.is_none());
        let before = past.history.latest_before(names::FOLLOWERS, one_back);
        assert_eq!(before, Some((two_back, &Value::Integer(10))), "it reads what was added");
        completion.older_dates_add(vec![stored(followers(first, one_back, 20))]).await.unwrap();
        let result = BatchResult { accounts: vec![stored(followers(first, date, 30))], ..BatchResult::default() };
        let completed = completion.commit(result).await.unwrap();
        assert_eq!((completed.counts.collected, completed.open), (1, 1), "the other account is still open");
        assert_eq!(rows().await, [two_back, one_back, date]);
        let inputs = store.fetch_inputs_of(&Scope::all_tenants(), &[first.id]).await.unwrap();
        assert_eq!(inputs[0].state.as_deref(), Some("{\"seen\":\"2026-11-22\"}"), "the state is of its own date");
    })
    .await;
}

#[tokio::test]
async fn an_error_in_the_middle_leaves_nothing() {
    each_database(async |store, _| {
        let accounts = people(&store, 2).await;
        let date = day("2026-11-22");
        add_batches(&store, &[batch(1, &run(1), &[&accounts[0], &accounts[1]], date)], now()).await;
        let held = lease(&store).await;

        // The second document has the first one's id. The rows are already written and must be rolled back.
        let first = row(&accounts[0], date);
        let second = MetricsRow { document_id: first.document_id, ..row(&accounts[1], date) };
        let mut results = vec![stored(first.clone()), stored(second)];
        results[0].events.push(event(1, None));
        let failing = BatchResult { accounts: results, ..BatchResult::default() };
        let error = store.batch_complete(&held, failing, now()).await.unwrap_err();
        assert!(matches!(error, StoreError::Query { what: "store documents", .. }), "{error:?}");

        let mut misfit = row(&accounts[1], date);
        misfit.values.insert(metric(names::LIKES), Value::Text("many".to_owned()));
        let failing = BatchResult { accounts: vec![stored(first.clone()), stored(misfit)], ..BatchResult::default() };
        let error = store.batch_complete(&held, failing, now()).await.unwrap_err();
        assert!(matches!(&error, StoreError::Misfit { metric, .. } if metric == "likes"), "{error:?}");

        let mut dropped = store.completion_begin(&held, now()).await.unwrap();
        dropped.history_load(&[(accounts[0].id, date)]).await.unwrap();
        drop(dropped);

        assert_eq!(store.metrics_list(&Scope::all_tenants(), &MetricsFilter::default()).await.unwrap(), []);
        assert_eq!(store.document_get(&Scope::all_tenants(), first.document_id).await.unwrap(), None);
        assert_eq!(store.run_outcomes_list(&Scope::all_tenants(), run(1).id, None, 10).await.unwrap(), []);
        assert_eq!(store.events_list(&Scope::all_tenants(), EventCursor::default(), 10).await.unwrap(), []);
        assert_eq!(store.fetch_inputs_of(&Scope::all_tenants(), &[accounts[0].id]).await.unwrap()[0].state, None);

        // The lease is still valid, and the batch can be completed.
        let right =
            BatchResult { accounts: vec![stored(first), stored(row(&accounts[1], date))], ..BatchResult::default() };
        assert_eq!(store.batch_complete(&held, right, now()).await.unwrap().counts.collected, 2);
        assert_eq!(store.metrics_list(&Scope::all_tenants(), &MetricsFilter::default()).await.unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_metric_that_a_clock_ahead_marked_as_lost_is_marked_again_by_the_right_one() {
    each_database(async |store, url| {
        let accounts = people(&store, 2).await;
        let date = day("2026-11-22");
        store.release_save(&release(), b"component").await.unwrap();
        store.release_activate(release().digest, backline_model::SwapCause::Activated, now()).await.unwrap();
        let lose = async |n: u128| {
            let account = &accounts[n as usize - 1];
            add_batches(&store, &[batch(n, &run(1), &[account], date)], now()).await;
            let lost = LostMetric { name: "impressions".to_owned(), reason: "not a valid metric".to_owned() };
            let accounts = vec![stored(row(account, date))];
            let result = BatchResult { accounts, lost_metrics: vec![lost], ..BatchResult::default() };
            store.batch_complete(&lease(&store).await, result, now()).await.unwrap();
        };
        let known_after = async |days: i64| {
            let at = now() + chrono::TimeDelta::days(days);
            store.lost_metrics_list(release().digest, at).await.unwrap()
        };
        lose(1).await;
        write(url, "UPDATE lost_metrics SET first_seen = '2027-01-01T00:00:00.000000Z'").await;
        assert_eq!(known_after(0).await, [""; 0], "so it is asked for again");
        lose(2).await;
        assert_eq!(known_after(0).await, ["impressions"], "and is lost still");
        assert_eq!(known_after(7).await, [""; 0], "for a week from now, not from that clock's time");
    })
    .await;
}

#[tokio::test]
async fn all_results_of_an_account_are_written_with_its_batch() {
    each_database(async |store, url| {
        let accounts = people(&store, 3).await;
        let date = day("2026-11-22");
        let all: Vec<_> = accounts.iter().collect();
        store.release_save(&release(), b"component").await.unwrap();
        store.release_activate(release().digest, backline_model::SwapCause::Activated, now()).await.unwrap();
        add_batches(&store, &[batch(1, &run(1), &all, date)], now()).await;
        let collected = row(&accounts[0], date);
        let growth = GrowthRow {
            account_id: accounts[0].id,
            artist_id: artist(1).id,
            platform: collected.platform.clone(),
            metric_date: date,
            changes: BTreeMap::from([(
                metric(names::FOLLOWERS),
                BTreeMap::from([(
                    7,
                    GrowthChange { absolute: Some(-3.0), percent: Some(-2.91), ..GrowthChange::default() },
                )]),
            )]),
        };
        let mut first = stored(collected);
        first.stored.as_mut().unwrap().growth.push(growth.clone());
        first.events.push(event(1, Some("once")));
        let mut second = result(
            &row(&accounts[1], date),
            Outcome::Failed { class: FailureClass::Reconnect, message: "the token was\0 revoked".to_owned() },
        );
        second.status = Some(AccountStatus::ReconnectNeeded);
        second.events.push(event(2, Some("once")));
        let lost = LostMetric { name: "impressions".to_owned(), reason: "not a valid metric".to_owned() };
        let result_ = BatchResult {
            tally: backline_model::Tally { accounts: 2, collected: 2, ..Default::default() },
            accounts: vec![first, second, result(&row(&accounts[2], date), Outcome::Collected)],
            lost_metrics: vec![lost.clone()],
            logs: vec![PluginLog { call: "fetch".to_owned(), level: "warn".to_owned(), message: "slow".to_owned() }],
            usage: serde_json::json!({ "requests": 3 }),
            ..BatchResult::default()
        };
        store.batch_complete(&lease(&store).await, result_, now()).await.unwrap();

        assert_eq!(store.growth_list(&Scope::all_tenants(), &MetricsFilter::default()).await.unwrap(), [growth]);
        let state = store.fetch_inputs_of(&Scope::all_tenants(), &[accounts[0].id]).await.unwrap().remove(0).state;
        assert_eq!(state.as_deref(), Some(r#"{"seen":"2026-11-22"}"#));
        let status =
            async |n: usize| store.account_get(&Scope::all_tenants(), accounts[n].id).await.unwrap().unwrap().status;
        assert_eq!((status(0).await, status(1).await), (AccountStatus::Active, AccountStatus::ReconnectNeeded));
        let known = async || store.lost_metrics_list(release().digest, now()).await.unwrap();
        assert_eq!(known().await, ["impressions"]);
        // A time that a clock ahead wrote down is none: the metric is asked for again.
        write(url, "UPDATE lost_metrics SET first_seen = '9999-01-01T00:00:00.000000Z'").await;
        assert_eq!(known().await, [""; 0]);
        write(url, "UPDATE lost_metrics SET first_seen = '2026-11-22T00:00:00.000000Z'").await;
        let kinds: Vec<_> = store
            .events_list(&Scope::all_tenants(), EventCursor::default(), 10)
            .await
            .unwrap()
            .into_iter()
            .map(|(_, event)| event.kind)
            .collect();
        assert_eq!(
            kinds,
            ["connector.activated", "metrics.collected", "connector.metric_lost"],
            "one event per dedup key"
        );

        // The same metric lost again gives no new event.
        add_batches(&store, &[batch(2, &run(1), &[&accounts[2]], date)], now()).await;
        let again = BatchResult {
            lost_metrics: vec![lost],
            accounts: vec![stored(row(&accounts[2], date))],
            ..BatchResult::default()
        };
        store.batch_complete(&lease(&store).await, again, now()).await.unwrap();
        assert_eq!(store.events_list(&Scope::all_tenants(), EventCursor::default(), 10).await.unwrap().len(), 3);
        let lost_after = async |days: i64| {
            let now = now() + chrono::TimeDelta::days(days);
            store.lost_metrics_list(release().digest, now).await.unwrap().len()
        };
        assert_eq!((lost_after(6).await, lost_after(7).await), (1, 0), "asked for again after a week");

        let pool = AnyPoolOptions::new().max_connections(1).connect(url).await.unwrap();
        let text = match store.kind() {
            DatabaseKind::Sqlite => {
                "SELECT artist_id, errors, collection_date, status FROM data_collection_logs ORDER BY artist_id"
            }
            DatabaseKind::Postgres => {
                "SELECT artist_id::text AS artist_id, errors::text AS errors, collection_date::text AS collection_date,
                     status
                 FROM data_collection_logs ORDER BY artist_id"
            }
        };
        let logs: Vec<(String, serde_json::Value, String, String)> = sqlx::query(text)
            .fetch_all(&pool)
            .await
            .unwrap()
            .iter()
            .map(|log| {
                (
                    log.get("artist_id"),
                    serde_json::from_str(log.get("errors")).unwrap(),
                    log.get("collection_date"),
                    log.get("status"),
                )
            })
            .collect();
        let failure = serde_json::json!([{
            "platform": "demo", "account_id": accounts[1].id, "class": "reconnect", "message": "the token was revoked",
        }]);
        let line = |n: u128, errors, status: &str| {
            (artist(n).id.to_string(), errors, "2026-11-22".to_owned(), status.to_owned())
        };
        let none = || serde_json::json!([]);
        assert_eq!(logs, [line(1, none(), "success"), line(2, failure, "failed"), line(3, none(), "success")]);
        let warning = sqlx::query("SELECT message FROM plugin_logs WHERE level = 'warn'").fetch_one(&pool).await;
        let said: String = warning.unwrap().get("message");
        assert_eq!(said, "slow");
        pool.close().await;
    })
    .await;
}

#[tokio::test]
async fn history_holds_only_the_days_needed_for_comparison() {
    each_database(async |store, _| {
        let [account, other] = people(&store, 2).await.try_into().unwrap();
        let date = day("2026-11-22");
        // A metric whose last value is long ago.
        let mut old = followers(&account, back(date, 200), 1);
        old.values.insert(metric("saves"), Value::Integer(9));
        store_rows(&store, vec![old]).await;
        for ago in [100, 90, 89, 60, 29, 28, 27, 20, 16, 15, 14, 7, 2, 1] {
            let row = followers(&account, back(date, ago), 1_000 - i64::try_from(ago).unwrap());
            store_rows(&store, vec![row, followers(&other, back(date, ago), 5)]).await;
        }
        let planned = batch(1, &run(1), &[&account, &other], date);
        add_batches(&store, &[planned], now()).await;
        let mut completion = store.completion_begin(&lease(&store).await, now()).await.unwrap();
        let histories = completion.history_load(&[(account.id, date), (other.id, date)]).await.unwrap();
        let past = &histories[&account.id];
        let ago: Vec<_> = past.history.dates().map(|day| (date - day).num_days()).collect();
        assert_eq!(ago, [200, 90, 28, 15, 14, 7, 2, 1], "the day 200 days ago has the latest `saves`");
        assert_eq!(past.history.on(names::FOLLOWERS, back(date, 28)), Some(&Value::Integer(972)));
        assert_eq!(past.history.basis_on(back(date, 1)), Some(EngagementBasis::Followers));
        assert_eq!(past.history.latest_before("saves", date), Some((back(date, 200), &Value::Integer(9))));
        assert_eq!((past.existing.clone(), past.later_dates.clone()), (None, Vec::new()));
        let ago: Vec<_> = histories[&other.id].history.dates().map(|day| (date - day).num_days()).collect();
        assert_eq!(ago, [90, 28, 15, 14, 7, 2, 1]);
    })
    .await;
}

#[tokio::test]
async fn history_of_a_late_date_holds_what_later_growth_needs() {
    each_database(async |store, _| {
        let [account] = people(&store, 1).await.try_into().unwrap();
        let date = day("2026-11-22");
        for offset in [-120_i64, -62, -27, -21, -6, 1, 28, 95, 96] {
            store_rows(&store, vec![followers(&account, date + TimeDelta::days(offset), 100 + offset)]).await;
        }
        add_batches(&store, &[batch(1, &run(1), &[&account], date)], now()).await;
        let mut completion = store.completion_begin(&lease(&store).await, now()).await.unwrap();
        let past = completion.history_load(&[(account.id, date)]).await.unwrap().remove(&account.id).unwrap();
        assert_eq!(
            past.later_dates,
            [date + Days::new(1), date + Days::new(28), date + Days::new(95)],
            "the first row after the longest span may be measured from this date, the one after that can't"
        );
        assert_eq!(past.later_rows.iter().map(|row| row.metric_date).collect::<Vec<_>>(), past.later_dates);
        let days: Vec<_> = past.history.dates().map(|day| (day - date).num_days()).collect();
        // One day later needs 27 and 6 days before this date, 28 days later needs 62 days before it. The 21st is not
        // needed.
        assert_eq!(days, [-62, -27, -6, 1, 28, 95]);

        // Before all other values: there is no earlier value, and the search finds none.
        let earliest = back(date, 300);
        drop(completion);
        store_rows(&store, vec![followers(&account, earliest, 1)]).await;
        let filter = MetricsFilter { until: Some(earliest), ..MetricsFilter::default() };
        assert_eq!(store.metrics_list(&Scope::all_tenants(), &filter).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_metric_that_the_next_row_beyond_the_longest_span_lacks_is_looked_for_further_on() {
    each_database(async |store, _| {
        let [account] = people(&store, 1).await.try_into().unwrap();
        let date = day("2026-03-22");
        let with_saves = |offset: i64| {
            let mut row = followers(&account, date + TimeDelta::days(offset), 100 + offset);
            row.values.insert(metric("saves"), Value::Integer(9));
            row
        };
        for offset in [95_i64, 150] {
            store_rows(&store, vec![followers(&account, date + TimeDelta::days(offset), 100 + offset)]).await;
        }
        for offset in [200, 201] {
            store_rows(&store, vec![with_saves(offset)]).await;
        }
        add_batches(&store, &[batch(1, &run(1), &[&account], date)], now()).await;
        let mut completion = store.completion_begin(&lease(&store).await, now()).await.unwrap();
        let past = completion.history_load(&[(account.id, date)]).await.unwrap().remove(&account.id).unwrap();
        let offsets: Vec<_> = past.later_dates.iter().map(|later| (*later - date).num_days()).collect();
        assert_eq!(offsets, [95, 150, 200], "`saves` of 200 days later is measured from this date, if from any");
        assert_eq!(past.later_rows.iter().map(|row| row.metric_date).collect::<Vec<_>>(), past.later_dates);
        let late = with_saves(0);
        let touched = backline_rules::growth::touched_dates(&late, &past.history);
        let offsets: Vec<_> = touched.iter().map(|touched| (*touched - date).num_days()).collect();
        assert_eq!(offsets, [0, 95, 200]);
    })
    .await;
}

#[tokio::test]
async fn the_latest_value_is_found_between_the_days_that_spans_start_from() {
    each_database(async |store, _| {
        let [account] = people(&store, 1).await.try_into().unwrap();
        let date = day("2026-11-22");
        // 28 days ago is read for a span, 20 days ago for none; yet it is the latest.
        for ago in [28, 20] {
            store_rows(&store, vec![followers(&account, back(date, ago), 100)]).await;
        }
        let latest = async |date: NaiveDate| {
            let held = batch(1, &run(1), &[&account], date);
            add_batches(&store, &[backline_model::Batch { id: BatchId::generate(), ..held }], now()).await;
            let mut completion = store.completion_begin(&lease(&store).await, now()).await.unwrap();
            let past = completion.history_load(&[(account.id, date)]).await.unwrap().remove(&account.id).unwrap();
            past.history.latest_before(names::FOLLOWERS, date).map(|(found, _)| found)
        };
        assert_eq!(latest(date).await, Some(back(date, 20)));
        // The same for a date that is added before others.
        store_rows(&store, vec![followers(&account, date + Days::new(1), 100)]).await;
        assert_eq!(latest(date).await, Some(back(date, 20)));
    })
    .await;
}

#[tokio::test]
async fn a_value_missing_for_long_is_found_for_a_late_date_too() {
    each_database(async |store, _| {
        let [account] = people(&store, 1).await.try_into().unwrap();
        let date = day("2026-11-22");
        store_rows(&store, vec![followers(&account, back(date, 40), 7)]).await;
        store_rows(&store, vec![followers(&account, date + Days::new(2), 9)]).await;
        add_batches(&store, &[batch(1, &run(1), &[&account], date)], now()).await;
        let mut completion = store.completion_begin(&lease(&store).await, now()).await.unwrap();
        let past = completion.history_load(&[(account.id, date)]).await.unwrap().remove(&account.id).unwrap();
        assert_eq!(past.history.latest_before(names::FOLLOWERS, date), Some((back(date, 40), &Value::Integer(7))));
    })
    .await;
}

#[tokio::test]
async fn an_account_erased_during_a_batch_does_not_affect_the_others() {
    each_database(async |store, url| {
        let accounts = people(&store, 2).await;
        let date = day("2026-11-22");
        add_batches(&store, &[batch(1, &run(1), &[&accounts[0], &accounts[1]], date)], now()).await;
        let held = lease(&store).await;
        write(url, &format!("DELETE FROM artists WHERE id = '{}'", artist(1).id)).await;
        let completion = store.completion_begin(&held, now()).await.unwrap();
        let both = BatchResult {
            accounts: vec![stored(row(&accounts[0], date)), stored(row(&accounts[1], date))],
            ..BatchResult::default()
        };
        let completed = completion.commit(both).await.unwrap();
        assert_eq!((completed.open, completed.counts.collected), (0, 1));
        let kept: Vec<_> = store
            .metrics_list(&Scope::all_tenants(), &MetricsFilter::default())
            .await
            .unwrap()
            .iter()
            .map(|row| row.account_id)
            .collect();
        assert_eq!(kept, [accounts[1].id]);

        // A batch without any remaining account is closed instead of leased.
        let gone = backline_model::Batch { id: BatchId::generate(), ..batch(2, &run(1), &[&accounts[0]], date) };
        add_batches(&store, &[gone], now()).await;
        assert_eq!(
            store.batch_lease(&Scope::all_tenants(), None, None, "worker", now(), super::fixtures::TTL).await.unwrap(),
            None
        );
        assert_eq!(store.next_batch_get(&Scope::all_tenants(), None, None).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn metrics_are_filtered_and_come_latest_first() {
    each_database(async |store, _| {
        let accounts = people(&store, 2).await;
        for date in ["2026-11-20", "2026-11-21", "2026-11-22"] {
            store_rows(&store, accounts.iter().map(|account| followers(account, day(date), 1)).collect()).await;
        }
        let dates = async |filter: MetricsFilter| -> Vec<String> {
            store
                .metrics_list(&Scope::all_tenants(), &filter)
                .await
                .unwrap()
                .iter()
                .map(|row| row.metric_date.to_string())
                .collect()
        };
        let of = |artist| MetricsFilter { artist: Some(artist), ..MetricsFilter::default() };
        assert_eq!(dates(of(artist(1).id)).await, ["2026-11-22", "2026-11-21", "2026-11-20"]);
        assert_eq!(dates(MetricsFilter { limit: Some(3), ..MetricsFilter::default() }).await.len(), 3);
        let since =
            MetricsFilter { since: Some(day("2026-11-21")), until: Some(day("2026-11-21")), ..of(artist(2).id) };
        assert_eq!(dates(since).await, ["2026-11-21"]);
        let elsewhere = backline_model::Platform::new("elsewhere").unwrap();
        assert!(dates(MetricsFilter { platform: Some(elsewhere), ..MetricsFilter::default() }).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn growth_rates_are_null_where_there_is_nothing_to_compare_with() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Sqlite {
            return;
        }
        let [account] = people(&store, 1).await.try_into().unwrap();
        let today = backline_model::clock::Clock::system().now().date_naive();
        let rates = [
            (40, 1, 1.0, true),
            (5, 100, 1.0, true),
            (4, 110, 3.5, true),
            (2, 0, 4.0, true),
            (1, 50, 5.25, true),
            (0, 60, 9.0, false),
        ];
        for (ago, count, rate, followers_basis) in rates {
            let mut row = followers(&account, back(today, ago), count);
            row.values.insert(metric(names::ENGAGEMENT_RATE), Value::Decimal(rate));
            if !followers_basis {
                row.engagement.as_mut().unwrap().basis = EngagementBasis::Views;
            }
            store_rows(&store, vec![row]).await;
        }
        let pool = AnyPoolOptions::new().max_connections(1).connect(url).await.unwrap();
        let found: Vec<(String, Option<f64>, Option<f64>)> = sqlx::query(
            "SELECT metric_date::text AS d, follower_growth_rate::float8 AS f, engagement_growth_rate::float8 AS e
             FROM calculate_growth_rates($1::uuid, $2)",
        )
        .bind(artist(1).id.to_string())
        .bind("demo")
        .fetch_all(&pool)
        .await
        .unwrap()
        .iter()
        .map(|row| (row.get("d"), row.get("f"), row.get("e")))
        .collect();
        let on = |ago| back(today, ago).to_string();
        assert_eq!(
            found,
            [
                (on(0), Some(20.0), None),
                (on(1), None, Some(1.25)),
                (on(2), None, None),
                (on(4), Some(10.0), Some(2.5)),
                (on(5), None, None),
            ],
            "another basis, a base of 0, a missing day, a full pair, the first day; older days are not shown"
        );
        pool.close().await;
    })
    .await;
}

#[tokio::test]
async fn documents_of_different_sizes_come_back_whole() {
    each_database(async |store, _| {
        let accounts = people(&store, 3).await;
        let date = day("2026-11-22");
        let all: Vec<_> = accounts.iter().collect();
        add_batches(&store, &[batch(1, &run(1), &all, date)], now()).await;
        let bodies: Vec<String> =
            (0..3).map(|n| format!("{{\"n\":{n},\"text\":\"{}\"}}", "ü".repeat(n * 70_000))).collect();
        let results: Vec<_> = accounts
            .iter()
            .zip(&bodies)
            .map(|(account, body)| {
                let row = MetricsRow { run_id: RunId::generate(), ..row(account, date) };
                // A document without a row: it could not be normalised but is stored.
                let failed = Outcome::Failed { class: FailureClass::NotNormalised, message: "odd".to_owned() };
                backline_store::AccountResult { document: Some(document(&row, body.clone())), ..result(&row, failed) }
            })
            .collect();
        let ids: Vec<_> = results.iter().map(|result| result.document.as_ref().unwrap().id).collect();
        store
            .batch_complete(&lease(&store).await, BatchResult { accounts: results, ..BatchResult::default() }, now())
            .await
            .unwrap();
        for (id, body) in ids.into_iter().zip(bodies) {
            assert_eq!(store.document_get(&Scope::all_tenants(), id).await.unwrap(), Some(body));
        }
    })
    .await;
}

#[tokio::test]
async fn accounts_without_a_turn_go_on_in_batches_of_their_own_with_no_attempt_used_up() {
    each_database(async |store, _| {
        let accounts = people(&store, 5).await;
        let date = day("2026-11-22");
        add_batches(&store, &[batch(1, &run(1), &accounts.iter().collect::<Vec<_>>(), date)], now()).await;
        let ids: Vec<_> = accounts.iter().map(|account| account.id).collect();
        // One is collected, one is to be tried again, and two parts got no turn.
        let result = BatchResult {
            accounts: vec![stored(followers(&accounts[0], date, 100))],
            without_turn: vec![vec![ids[2]], vec![ids[3], ids[4]]],
            ..BatchResult::default()
        };
        let completed = store.batch_complete(&lease(&store).await, result, now()).await.unwrap();
        assert_eq!((completed.counts.collected, completed.open), (1, 4));
        let mut parts = Vec::new();
        for _ in 0..3 {
            let batch = lease(&store).await.batch;
            let mut accounts: Vec<_> = batch.accounts.iter().map(|account| account.account_id).collect();
            accounts.sort();
            parts.push((accounts, batch.attempts));
        }
        parts.sort();
        let mut expected = vec![(vec![ids[1]], 1), (vec![ids[2]], 0), (vec![ids[3], ids[4]], 0)];
        expected.iter_mut().for_each(|(accounts, _)| accounts.sort());
        expected.sort();
        assert_eq!(parts, expected);
    })
    .await;
}

#[tokio::test]
async fn a_release_remembers_a_bounded_number_of_lost_metrics_and_announces_each_once() {
    each_database(async |store, _| {
        let accounts = people(&store, 4).await;
        let date = day("2026-11-22");
        for (n, account) in (1..).zip(&accounts) {
            add_batches(&store, &[batch(n, &run(1), &[account], date)], now()).await;
            let metric = |m| LostMetric { name: format!("metric-{m}"), reason: "gone".to_owned() };
            let first = (n - 1) * 100;
            let result = BatchResult {
                accounts: vec![stored(followers(account, date, 100))],
                lost_metrics: (first..first + 100).map(metric).chain([metric(0)]).collect(),
                ..BatchResult::default()
            };
            store.batch_complete(&lease(&store).await, result, now()).await.unwrap();
        }
        assert_eq!(store.lost_metrics_list(release().digest, now()).await.unwrap().len(), 256);
        let events = store.events_list(&Scope::all_tenants(), EventCursor::default(), 1_000).await.unwrap();
        assert_eq!(events.iter().filter(|(_, event)| event.kind == "connector.metric_lost").count(), 256);

        // What is still lost a week later is remembered for another week, and told no more.
        let later = now() + chrono::TimeDelta::days(8);
        add_batches(&store, &[batch(9, &run(1), &[&accounts[0]], date)], now()).await;
        let metric = LostMetric { name: "metric-7".to_owned(), reason: "gone".to_owned() };
        let again = BatchResult {
            accounts: vec![stored(followers(&accounts[0], date, 100))],
            lost_metrics: vec![metric.clone(), metric],
            ..BatchResult::default()
        };
        store.batch_complete(&lease(&store).await, again, later).await.unwrap();
        assert_eq!(store.lost_metrics_list(release().digest, later).await.unwrap(), ["metric-7"]);
        let events = store.events_list(&Scope::all_tenants(), EventCursor::default(), 1_000).await.unwrap();
        assert_eq!(events.iter().filter(|(_, event)| event.kind == "connector.metric_lost").count(), 256);
    })
    .await;
}

#[tokio::test]
async fn an_account_is_left_out_as_unknown_after_days_and_not_after_many_dates_of_one() {
    each_database(async |store, _| {
        let (all, accounts) = (Scope::all_tenants(), people(&store, 1).await);
        let unknown = Outcome::Failed { class: FailureClass::NotFound, message: "404".to_owned() };
        let asked = async |n: u32, at: DateTime<Utc>| {
            let (own, date) = (run(n.into()), day("2026-11-01") + Days::new(n.into()));
            create_run(&store, &own).await;
            add_batches(&store, &[batch(n.into(), &own, &[&accounts[0]], date)], at).await;
            let held = store.batch_lease(&all, None, None, "worker", at, TTL).await.unwrap().expect("a batch");
            let accounts = vec![result(&followers(&accounts[0], date, 5), unknown.clone())];
            let failed = BatchResult { accounts, ..BatchResult::default() };
            store.batch_complete(&held, failed, at).await.unwrap();
        };
        let status = async || store.account_get(&all, accounts[0].id).await.unwrap().expect("it is there").status;
        for n in 2..=9 {
            asked(n, now()).await;
        }
        assert_eq!(status().await, AccountStatus::Active, "a backfill met a bad hour");
        for n in 10..=14 {
            asked(n, now() + TimeDelta::days(i64::from(n) - 9)).await;
        }
        assert_eq!(status().await, AccountStatus::Active);
        asked(15, now() + TimeDelta::days(6)).await;
        assert_eq!(status().await, AccountStatus::NotFound);
    })
    .await;
}
