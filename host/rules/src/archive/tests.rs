//! Clamping of months, which rule wins, and that nothing is kept longer without a reason.

use proptest::prelude::*;

use super::*;

fn day(text: &str) -> NaiveDate {
    text.parse().expect("a date")
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

fn platform(name: &str) -> Platform {
    Platform::new(name).expect("a platform")
}

fn tenant(name: &str) -> Tenant {
    Tenant::new(name).expect("a tenant")
}

fn rule(what: What, days: u32) -> ArchiveRule {
    ArchiveRule { what, action: None, platform: None, tenant: None, months: None, days: Some(days), reason: None }
}

fn config(rules: Vec<ArchiveRule>) -> ArchiveConfig {
    ArchiveConfig { rules, ..ArchiveConfig::default() }
}

/// The properties of a row that rules depend on.
#[derive(Clone, Debug)]
struct Row {
    platform: Platform,
    tenant: Tenant,
    authorised: bool,
    zone: String,
    date: NaiveDate,
    observed: DateTime<Utc>,
}

fn takes(step: &RetentionStep, row: &Row) -> bool {
    let scope = RowFilter { platform: Some(row.platform.clone()), tenant: Some(row.tenant.clone()) };
    let past = match &step.before {
        Before::Dates(days) => days.iter().any(|day| day.zones.contains(&row.zone) && row.date < day.before),
        Before::Time(time) => row.observed < *time,
    };
    past && step.scope.covers(&scope)
        && !step.except.iter().any(|except| except.covers(&scope))
        && !(step.unless_authorised && row.authorised)
}

/// Whether a row of a table is due for an action.
fn due(plan: &Plan, table: RetainedTable, action: Action, row: &Row) -> bool {
    plan.steps.iter().any(|step| (step.table, step.action) == (table, action) && takes(step, row))
}

#[test]
fn months_are_clamped_to_the_last_day() {
    for (today, months, before) in [
        ("2026-08-31", 6, "2026-02-28"),
        ("2024-08-31", 6, "2024-02-29"),
        ("2024-02-29", 24, "2022-02-28"),
        ("2026-02-28", 24, "2024-02-28"),
        ("2026-03-01", 24, "2024-03-01"),
        ("2026-12-31", 6, "2026-06-30"),
    ] {
        assert_eq!(cutoff(day(today), Age::Months(months)), day(before), "{today} - {months}");
    }
    assert_eq!(cutoff(day("2024-03-01"), Age::Days(1)), day("2024-02-29"));
    assert_eq!(cutoff(day("2024-03-01"), Age::Months(u32::MAX)), EARLIEST);
    assert_eq!(cutoff(day("2024-03-01"), Age::Months(30_000)), EARLIEST);
}

#[test]
fn zones_of_one_date_are_handled_together_and_there_are_three_dates_at_most() {
    let zones = ["Pacific/Kiritimati", "Europe/Berlin", "UTC", "Etc/GMT+12", "nowhere"].map(str::to_owned);
    let plan = plan(&rules(&ArchiveConfig::default(), &[]), &zones, at("2026-03-01T10:30:00Z"));
    let step = plan.steps.iter().find(|step| step.table == RetainedTable::Metrics).expect("metrics are archived");
    let Before::Dates(days) = &step.before else { panic!("by date") };
    let found: Vec<_> =
        days.iter().map(|day| (day.today.to_string(), day.before.to_string(), day.zones.join(" "))).collect();
    assert_eq!(
        found,
        [
            ("2026-02-28".to_owned(), "2024-02-28".to_owned(), "Etc/GMT+12 nowhere".to_owned()),
            ("2026-03-01".to_owned(), "2024-03-01".to_owned(), "Europe/Berlin UTC".to_owned()),
            ("2026-03-02".to_owned(), "2024-03-02".to_owned(), "Pacific/Kiritimati".to_owned()),
        ]
    );
    assert_eq!(step.everywhere_before, Some(day("2024-02-28")));
}

#[test]
fn a_rule_with_a_reason_replaces_what_it_overrules_and_no_other_rule_does() {
    let zones = ["UTC".to_owned()];
    let policies = [(platform("youtube"), Policy { metrics_days: Some(30), ..Policy::default() })];
    let long = ArchiveRule {
        action: Some(Action::Delete),
        platform: Some(platform("youtube")),
        tenant: Some(tenant("a")),
        ..rule(What::Metrics, 400)
    };
    let now = at("2026-06-01T00:00:00Z");
    let row = |name: &str| Row {
        platform: platform("youtube"),
        tenant: tenant(name),
        authorised: false,
        zone: "UTC".to_owned(),
        date: day("2026-04-01"),
        observed: at("2026-04-01T12:00:00Z"),
    };
    let planned = |rule: ArchiveRule| plan(&rules(&config(vec![rule]), &policies), &zones, now);
    let without = planned(long.clone());
    assert!(due(&without, RetainedTable::Metrics, Action::Delete, &row("a")));
    let with = planned(ArchiveRule { reason: Some("the owner wrote to us".to_owned()), ..long });
    assert!(!due(&with, RetainedTable::Metrics, Action::Delete, &row("a")));
    assert!(due(&with, RetainedTable::Metrics, Action::Delete, &row("b")), "only that tenant's");
    assert!(due(&with, RetainedTable::MetricsArchive, Action::Delete, &row("b")), "archived ones too");
}

#[test]
fn a_longer_rule_is_passed_over_and_the_plan_says_for_which() {
    let plan =
        plan(&rules(&config(vec![rule(What::Documents, 30)]), &[]), &["UTC".to_owned()], at("2026-06-01T00:00:00Z"));
    let documents: Vec<_> = plan.steps.iter().filter(|step| step.table == RetainedTable::Documents).collect();
    assert_eq!(documents.len(), 1);
    assert_eq!(documents[0].rule, "archive.rules: 30 days for everything");
    assert_eq!(
        plan.passed_over,
        [PassedOver {
            table: RetainedTable::Documents,
            rule: "built in: 6 months".to_owned(),
            winner: "archive.rules: 30 days for everything".to_owned(),
        }]
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |rule: ArchiveRule| config(vec![rule]).check().expect_err("refused").1;
    assert!(refused(ArchiveRule { months: Some(1), ..rule(What::Logs, 3) }).contains("either months or days"));
    assert!(refused(rule(What::Logs, 0)).contains("1 or more"));
    assert!(refused(rule(What::Runs, 39)).contains("40 days"));
    assert!(refused(ArchiveRule { platform: Some(platform("x")), ..rule(What::Logs, 3) }).contains("platform"));
    assert!(refused(ArchiveRule { action: Some(Action::Archive), ..rule(What::Logs, 3) }).contains("only metrics"));
    assert!(refused(ArchiveRule { reason: Some(" ".to_owned()), ..rule(What::Logs, 3) }).contains("reason"));
    assert!(refused(rule(What::Metrics, 489)).contains("490 days"));
    assert!(refused(ArchiveRule { months: Some(17), days: None, ..rule(What::Metrics, 1) }).contains("18 months"));
    let delete = ArchiveRule { action: Some(Action::Delete), ..rule(What::Metrics, 5) };
    let half = ArchiveRule { months: Some(18), days: None, ..rule(What::Metrics, 1) };
    config(vec![rule(What::Runs, 40), rule(What::Metrics, 490), half, delete]).check().expect("fine");
}

#[test]
fn what_platforms_ask_for_is_done_every_day_and_so_are_copies_of_it() {
    let policies = [(platform("youtube"), Policy { metrics_days: Some(30), ..Policy::default() })];
    let plan = plan(&rules(&ArchiveConfig::default(), &policies), &["UTC".to_owned()], at("2026-06-01T00:00:00Z"));
    let daily: Vec<_> = plan.steps.iter().filter(|step| step.daily).map(|step| (step.table, step.action)).collect();
    let expected =
        [RetainedTable::Metrics, RetainedTable::MetricsArchive, RetainedTable::Quarantine, RetainedTable::Events];
    assert_eq!(daily, expected.map(|table| (table, Action::Delete)));
}

fn some_rule() -> impl Strategy<Value = ArchiveRule> {
    let what = prop_oneof![Just(What::Metrics), Just(What::Documents), Just(What::Quarantine)];
    let name = || proptest::option::of(prop_oneof![Just("a"), Just("b")]);
    (what, any::<bool>(), name(), name(), 1_u32..1000).prop_map(|(what, delete, on, of, days)| ArchiveRule {
        action: delete.then_some(Action::Delete),
        platform: on.map(platform),
        tenant: of.map(tenant),
        ..rule(what, days)
    })
}

#[test]
fn what_an_authorised_account_gave_has_days_of_its_own() {
    let zones = ["UTC".to_owned()];
    let days = Policy { documents_days: Some(30), metrics_days: Some(30), ..Policy::default() };
    let policy = Policy { unless_authorised: true, authorised_days: Some(90), ..days };
    let now = at("2026-06-01T00:00:00Z");
    let plan = plan(&rules(&ArchiveConfig::default(), &[(platform("youtube"), policy)]), &zones, now);
    let row = |authorised: bool, age: i64| Row {
        platform: platform("youtube"),
        tenant: tenant("a"),
        authorised,
        zone: "UTC".to_owned(),
        date: day("2026-05-30"),
        observed: now - TimeDelta::days(age),
    };
    for table in
        [RetainedTable::Metrics, RetainedTable::MetricsArchive, RetainedTable::Documents, RetainedTable::Quarantine]
    {
        let is_due = |authorised, age| due(&plan, table, Action::Delete, &row(authorised, age));
        assert!(!is_due(false, 29) && is_due(false, 32), "{table:?}: of an account without a credential of its own");
        assert!(!is_due(true, 89) && is_due(true, 92), "{table:?}: of an account whose owner has authorised it");
    }
}

fn some_policies() -> impl Strategy<Value = Vec<(Platform, Policy)>> {
    let days = || proptest::option::of(1_u32..1000);
    proptest::collection::vec((days(), days(), any::<bool>(), days()), 0..=2).prop_map(|policies| {
        let policy = |(index, (documents_days, metrics_days, unless_authorised, authorised_days)): (usize, _)| {
            let policy =
                Policy { documents_days, metrics_days, unless_authorised, authorised_days, ..Policy::default() };
            (platform(["a", "b"][index]), policy)
        };
        policies.into_iter().enumerate().map(policy).collect()
    })
}

fn some_row() -> impl Strategy<Value = Row> {
    let name = || prop_oneof![Just("a"), Just("b"), Just("c")];
    let zone = prop_oneof![Just("UTC"), Just("Pacific/Kiritimati"), Just("Etc/GMT+12")];
    (name(), name(), any::<bool>(), zone, 0_u64..1200, 0_i64..1200).prop_map(
        |(on, of, authorised, zone, days, observed)| Row {
            platform: platform(on),
            tenant: tenant(of),
            authorised,
            zone: zone.to_owned(),
            date: day("2026-08-31") - Days::new(days),
            observed: at("2026-08-31T12:00:00Z") - TimeDelta::days(observed),
        },
    )
}

proptest! {
    #[test]
    fn without_a_reason_more_rules_never_keep_anything_longer(
        own in proptest::collection::vec(some_rule(), 0..4), policies in some_policies(), row in some_row(),
    ) {
        let zones = ["UTC", "Pacific/Kiritimati", "Etc/GMT+12"].map(str::to_owned);
        let now = at("2026-08-31T12:00:00Z");
        let few = plan(&rules(&ArchiveConfig::default(), &[]), &zones, now);
        let policed = plan(&rules(&ArchiveConfig::default(), &policies), &zones, now);
        let all = plan(&rules(&config(own.clone()), &policies), &zones, now);
        for table in [
            RetainedTable::Metrics,
            RetainedTable::MetricsArchive,
            RetainedTable::Documents,
            RetainedTable::Quarantine,
        ] {
            for action in [Action::Archive, Action::Delete] {
                prop_assert!(!due(&few, table, action, &row) || due(&policed, table, action, &row));
                prop_assert!(!due(&policed, table, action, &row) || due(&all, table, action, &row));
            }
        }
        // Rules without effect change nothing: every rule that matches is obeyed.
        for rule in rules(&config(own), &policies) {
            let single = plan(std::slice::from_ref(&rule), &zones, now);
            for step in &single.steps {
                prop_assert!(!takes(step, &row) || due(&all, step.table, step.action, &row), "{rule}");
            }
        }
    }

    #[test]
    fn a_row_two_years_old_to_the_day_is_kept_and_the_day_before_goes(now in 0_i64..3000, zone in 0_usize..3) {
        let zones = ["UTC", "Pacific/Kiritimati", "Etc/GMT+12"].map(str::to_owned);
        let now = at("2020-02-29T11:59:59Z") + TimeDelta::hours(now * 7);
        let today = zones[zone].parse::<Zone>().expect("a zone").date_at(now);
        let plan = plan(&rules(&ArchiveConfig::default(), &[]), &zones, now);
        let kept = today.checked_sub_months(Months::new(24)).expect("a date");
        let row = |date| Row {
            platform: platform("a"),
            tenant: tenant("a"),
            authorised: false,
            zone: zones[zone].clone(),
            date,
            observed: now,
        };
        prop_assert!(!due(&plan, RetainedTable::Metrics, Action::Archive, &row(kept)));
        prop_assert!(due(&plan, RetainedTable::Metrics, Action::Archive, &row(kept.pred_opt().expect("a date"))));
    }
}
