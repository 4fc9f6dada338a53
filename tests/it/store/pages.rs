//! Tests of lists of the installation: pages of any length give what one page gives.

use std::collections::BTreeMap;

use backline_model::{FireDecision, ScheduleSpec, SwapCause};
use backline_store::{ArchiveRun, ArchiveRunFilter, MetricsFilter, NewSchedule, Scope, TimelineFilter};
use chrono::TimeDelta;
use uuid::Uuid;

use super::fixtures::{TTL, account, demo, now, release, release_of};
use crate::support::database::each_database;

#[tokio::test]
async fn swaps_of_one_time_come_once_each() {
    each_database(async |store, _| {
        let (old, new) = (release(), release_of("1.1.0", b"other component"));
        store.release_save(&old, b"component").await.unwrap();
        store.release_save(&new, b"other component").await.unwrap();
        for release in [&old, &new, &old, &new, &old] {
            store.release_activate(release.digest, SwapCause::Activated, now()).await.unwrap();
        }
        let whole = store.swaps_before_list(None, None, 10).await.unwrap();
        assert_eq!(whole.len(), 5);
        let (mut paged, mut before) = (Vec::new(), None);
        loop {
            let page = store.swaps_before_list(Some(&demo()), before, 2).await.unwrap();
            let Some((place, _)) = page.last() else { break };
            before = Some(*place);
            paged.extend(page);
        }
        assert_eq!(paged, whole);
        let listed = store.swaps_list(None, 2).await.unwrap();
        assert_eq!(listed, whole.into_iter().take(2).map(|(_, swap)| swap).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn a_schedules_times_come_once_each_and_without_anothers() {
    each_database(async |store, _| {
        let term = store.role_take("scheduler", "a", now(), TTL).await.unwrap().expect("the role is free");
        let new =
            |name: &str| NewSchedule { name: name.to_owned(), spec: ScheduleSpec::default(), next_fire: Some(now()) };
        store.schedules_sync(&term, &[new("daily"), new("other")], now()).await.unwrap();
        let times: Vec<_> = (0..5).map(|n| (now() + TimeDelta::hours(n), FireDecision::Missed)).collect();
        for schedule in ["daily", "other"] {
            store.fires_record(&term, schedule, &times, None, now()).await.unwrap();
        }
        let (mut paged, mut before) = (Vec::new(), None);
        loop {
            let page = store.fires_before_list("daily", before, 2).await.unwrap();
            let Some(last) = page.last() else { break };
            before = Some(last.fire_time);
            paged.extend(page);
        }
        let told: Vec<_> = paged.iter().rev().map(|fire| (fire.fire_time, fire.decision)).collect();
        assert_eq!(told, times);
        assert_eq!(paged, store.fires_list(Some("daily"), 10).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn runs_of_the_archive_come_once_each_also_by_their_state() {
    each_database(async |store, _| {
        for n in 0..5_u8 {
            let run = ArchiveRun {
                id: Uuid::from_u128(u128::from(n)),
                origin: "manual".to_owned(),
                as_of: now(),
                // Some began at once.
                started_at: now() + TimeDelta::hours(i64::from(n / 2)),
                finished_at: None,
                state: if n % 2 == 0 { "running" } else { "failed" }.to_owned(),
                counts: BTreeMap::new(),
                message: None,
            };
            store.archive_run_save(&run).await.unwrap();
        }
        for (state, expected) in [(None, 5), (Some("running"), 3), (Some("failed"), 2), (Some("done"), 0)] {
            let state = state.map(str::to_owned);
            let whole = ArchiveRunFilter { state: state.clone(), before: None, limit: 10 };
            let whole = store.archive_runs_filtered_list(&whole).await.unwrap();
            assert_eq!(whole.len(), expected, "{state:?}");
            let (mut paged, mut before) = (Vec::new(), None);
            loop {
                let filter = ArchiveRunFilter { state: state.clone(), before, limit: 1 };
                let page = store.archive_runs_filtered_list(&filter).await.unwrap();
                let Some(last) = page.last() else { break };
                before = Some((last.started_at, last.id));
                paged.extend(page);
            }
            assert_eq!(paged, whole, "{state:?}");
        }
        let latest = store.archive_runs_list(1).await.unwrap();
        assert_eq!(latest.iter().map(|run| run.id).collect::<Vec<_>>(), [Uuid::from_u128(4)]);
    })
    .await;
}

#[tokio::test]
async fn a_place_that_no_page_has_is_no_failure() {
    each_database(async |store, _| {
        let all = Scope::all_tenants();
        for date in ["+262142-01-01", "+10000-01-01", "-0001-01-01", "-262142-01-01"] {
            let date: chrono::NaiveDate = date.parse().unwrap();
            for (since, until) in [(None, None), (Some(date), None), (None, Some(date))] {
                let after = Some((date, account(1).id));
                let filter = MetricsFilter { since, until, after, ..MetricsFilter::default() };
                assert_eq!(store.metrics_list(&all, &filter).await.unwrap(), [], "{date}");
                assert_eq!(store.growth_list(&all, &filter).await.unwrap(), [], "{date}");
            }
        }
        // Names from outside, with what PostgreSQL takes in no text.
        let filter = TimelineFilter { with_acts: true, ..TimelineFilter::default() };
        assert!(store.connector_timeline_list("a\0b", &filter).await.unwrap().is_empty());
        assert_eq!(store.credential_get(&all, &demo(), "a\0b", None).await.unwrap(), None);
        let named = store.ids_named_list(&all, backline_store::IdKind::Artist, "a\0b", 10).await.unwrap();
        assert!(named.is_empty());
    })
    .await;
}
