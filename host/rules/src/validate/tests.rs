//! Every rule of the table fires on the cases that it is for, and on no others.

use uuid::Uuid;

use super::*;
use backline_model::fixtures::{day, ints, manifest, manifest_with_rounded_followers, name};
use backline_model::metric::names;
use backline_model::snapshot::Coverage;

/// One account on one day.
struct Account {
    artist: u128,
    account: u128,
    platform: &'static str,
    date: &'static str,
    conformed: Conformed,
    history: History,
    manifest: Manifest,
    config: ValidationConfig,
}

impl Account {
    fn new(values: &[(&str, Value)]) -> Self {
        let values = values.iter().map(|(metric, value)| (name(metric), Ok(value.clone()))).collect();
        Self {
            artist: 2,
            account: 1,
            platform: "example",
            date: "2026-11-20",
            conformed: Conformed {
                values,
                coverage: BTreeMap::new(),
                engagement: None,
                notes: Vec::new(),
                misfits: Vec::new(),
            },
            history: History::default(),
            manifest: manifest(),
            config: ValidationConfig::default(),
        }
    }

    fn counts(values: &[(&str, i64)]) -> Self {
        Self::new(&values.iter().map(|(metric, value)| (*metric, Value::Integer(*value))).collect::<Vec<_>>())
    }

    fn misfit(metric: &str, value: Value) -> Self {
        Self::new(&[]).and_misfit(metric, Ok(value))
    }

    fn and_misfit(mut self, metric: &str, value: Result<Value, Absence>) -> Self {
        if self.manifest.metric(metric).is_some() {
            self.conformed.values.insert(name(metric), Err(Absence::Unavailable));
        }
        self.conformed.misfits.push(Reported { name: metric.to_owned(), value, coverage: None });
        self
    }

    fn after(mut self, date: &str, values: &[(&str, i64)]) -> Self {
        self.history.insert(day(date), ints(values), None);
        self
    }

    /// Adds the same values on each of the last `days` days.
    fn after_days(mut self, days: u64, values: &[(&str, i64)]) -> Self {
        for ago in 1..=days {
            self.history.insert(day(self.date) - chrono::Days::new(ago), ints(values), None);
        }
        self
    }

    fn on(mut self, date: &'static str) -> Self {
        self.date = date;
        self
    }

    fn covering(mut self, metric: &str, counted: u32) -> Self {
        self.conformed.coverage.insert(name(metric), Coverage { counted, skipped: 0 });
        self
    }

    fn configured(mut self, toml: &str) -> Self {
        self.config = toml::from_str(toml).unwrap();
        self
    }

    fn verdict(&self) -> Verdict {
        self.with_subject(|subject| validate(subject, &self.history, &self.config))
    }

    fn screened(&self) -> Screened {
        self.with_subject(|subject| screen(subject, &self.config))
    }

    fn judged(&self, screened: &Screened) -> Verdict {
        self.with_subject(|subject| judge(subject, screened, &self.history, &self.config))
    }

    fn with_subject<T>(&self, step: impl FnOnce(&Judged<'_>) -> T) -> T {
        let platform = Platform::new(self.platform).unwrap();
        step(&Judged {
            account_id: AccountId(Uuid::from_u128(self.account)),
            artist_id: ArtistId(Uuid::from_u128(self.artist)),
            platform: &platform,
            metric_date: day(self.date),
            conformed: &self.conformed,
            manifest: &self.manifest,
        })
    }

    fn fired(&self) -> Vec<String> {
        self.verdict().findings.into_iter().map(|finding| finding.rule).collect()
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn rate(rate: f64) -> Account {
    Account::new(&[("engagement_rate", Value::Decimal(rate))])
}

fn views_and_likes(views: i64, likes: i64) -> Account {
    Account::counts(&[("content_views", views), ("likes", likes)])
}

/// Each rule with cases on which it, and no other rule, must fire, and cases on which none may.
fn table() -> Vec<(&'static str, Vec<Account>, Vec<Account>)> {
    let followers = |before: i64, date: &str, now: i64| {
        Account::counts(&[("followers", now)]).after(date, &[("followers", before)])
    };
    let rounded = |before: i64, now: i64, figures: u8| Account {
        manifest: manifest_with_rounded_followers(figures),
        ..followers(before, "2026-11-19", now)
    };
    vec![
        (
            "identity-missing",
            vec![
                Account { artist: 0, ..Account::counts(&[("followers", 5)]) },
                Account { account: 0, ..Account::counts(&[("followers", 5)]) },
                Account { platform: "elsewhere", ..Account::counts(&[("followers", 5)]) },
            ],
            vec![Account::counts(&[("followers", 5)]), Account::new(&[])],
        ),
        (
            "metric-unknown",
            vec![
                Account::misfit("plays", Value::Integer(1)),
                Account::misfit("streams", Value::Integer(1)),
                Account::misfit("No Name\0", Value::Integer(1)),
                Account::new(&[]).and_misfit("plays", Err(Absence::Hidden)),
            ],
            vec![],
        ),
        (
            "metric-duplicate",
            vec![Account::misfit("likes", Value::Integer(1)).and_misfit("likes", Ok(Value::Integer(2)))],
            vec![],
        ),
        (
            "value-not-finite",
            vec![
                Account::misfit("popularity", Value::Decimal(f64::NAN)),
                Account::misfit("followers", Value::Decimal(f64::INFINITY)),
            ],
            vec![],
        ),
        (
            "metric-kind",
            vec![
                Account::misfit("followers", Value::Decimal(1.5)),
                Account::misfit("top_track", Value::Integer(1)),
                Account::misfit("genres", text("pop")),
                Account::misfit("popularity", text("57")),
                Account::misfit("mood", Value::Integer(1)),
                Account::misfit("engagement_rate", Value::Decimal(3.0)),
            ],
            vec![],
        ),
        (
            "count-negative",
            vec![Account::counts(&[("followers", -5)]), Account::counts(&[("likes", i64::MIN)])],
            vec![Account::counts(&[("followers", 0)]), Account::counts(&[("popularity", -1)])],
        ),
        ("engagement-rate-range", vec![rate(-0.01), rate(100.01), rate(250.0)], vec![rate(0.0), rate(20.0)]),
        ("engagement-rate-high", vec![rate(20.01), rate(100.0)], vec![rate(20.0)]),
        (
            "followers-jump",
            vec![
                followers(1000, "2026-11-19", 2001),
                // 100.04 % a day for 14 days.
                followers(1000, "2026-11-06", 16_430_000),
                rounded(1000, 2100, 3),
            ],
            vec![
                followers(1000, "2026-11-19", 2000),
                // The same growth over ten days is 7 % a day.
                followers(1000, "2026-11-10", 2001),
                // A value from 15 days ago is too old to compare with.
                followers(1, "2026-11-05", 1_000_000_000),
                // There is no rate from nothing.
                followers(0, "2026-11-19", 1_000_000),
                Account::counts(&[("followers", 1_000_000)]),
                // A later date is not an earlier value.
                followers(1000, "2026-11-21", 5000),
                // Across a definition break.
                followers(1000, "2026-11-19", 5000).on("2026-03-10").after("2026-03-09", &[("followers", 1000)]),
            ],
        ),
        (
            "followers-drop",
            vec![
                followers(1000, "2026-11-19", 899),
                followers(1000, "2026-11-19", 0),
                followers(1000, "2026-11-18", 800),
                // Two steps of one significant figure, and a number that is not rounded.
                rounded(3000, 1000, 1),
                rounded(1000, 100, 1),
                rounded(5, 4, 3),
            ],
            vec![
                followers(1000, "2026-11-19", 900),
                followers(1000, "2026-11-10", 899),
                followers(1000, "2026-11-05", 1),
                followers(0, "2026-11-19", 0),
                Account::counts(&[("followers", 10)]).on("2026-03-10").after("2026-03-09", &[("followers", 1000)]),
                // One rounding step: the true number may hardly have changed.
                rounded(3000, 2000, 1),
                rounded(1000, 900, 1),
            ],
        ),
        (
            "counter-fell",
            vec![
                Account::counts(&[("total_views", 99)]).after("2026-11-19", &[("total_views", 100)]),
                Account::counts(&[("posts_count", 1)]).after("2026-11-10", &[("posts_count", 2)]),
            ],
            vec![
                Account::counts(&[("total_views", 100)]).after("2026-11-19", &[("total_views", 100)]),
                Account::counts(&[("total_views", 1)]).on("2026-08-27").after("2026-08-26", &[("total_views", 100)]),
                // Sums over a window fall when posts leave it.
                Account::counts(&[("content_views", 1)]).after("2026-11-19", &[("content_views", 100)]),
            ],
        ),
        (
            "likes-exceed-views",
            vec![
                views_and_likes(1, 17),
                views_and_likes(1, 17).covering("content_views", 3).covering("likes", 2),
                Account {
                    manifest: {
                        let mut manifest = manifest();
                        manifest
                            .metrics
                            .iter_mut()
                            .find(|entry| entry.name.as_str() == "content_views")
                            .unwrap()
                            .name = name("video_views");
                        manifest
                    },
                    ..Account::counts(&[("video_views", 1), ("likes", 17)])
                },
            ],
            vec![
                views_and_likes(17, 17),
                Account::counts(&[("likes", 17)]),
                // The likes are about more posts than the views.
                views_and_likes(1, 17).covering("content_views", 2).covering("likes", 3),
                // A lifetime total of likes and views of a window.
                Account {
                    manifest: {
                        let mut manifest = manifest();
                        manifest.metrics.iter_mut().find(|entry| entry.name.as_str() == "likes").unwrap().kind =
                            backline_model::Kind::Counter;
                        manifest
                    },
                    ..views_and_likes(1, 17)
                },
            ],
        ),
        (
            "stale-source",
            vec![
                Account::counts(&[("followers", 500), ("likes", 9)])
                    .after_days(14, &[("followers", 500), ("likes", 8)]),
                // Weekly collection shows it as well.
                Account::counts(&[("followers", 500), ("likes", 9)])
                    .after("2026-11-13", &[("followers", 500), ("likes", 9)])
                    .after("2026-11-06", &[("followers", 500), ("likes", 8)]),
            ],
            vec![
                // 13 days are not 14.
                Account::counts(&[("followers", 500), ("likes", 9)])
                    .after_days(13, &[("followers", 500), ("likes", 8)]),
                // Nothing changes at all: an inactive account.
                Account::counts(&[("followers", 500), ("likes", 8)])
                    .after_days(20, &[("followers", 500), ("likes", 8)]),
                // It changed in between.
                Account::counts(&[("followers", 500), ("likes", 9)])
                    .after_days(20, &[("followers", 500), ("likes", 8)])
                    .after("2026-11-12", &[("followers", 501)]),
                // Not observed for too long.
                Account::counts(&[("followers", 500), ("likes", 9)])
                    .after("2026-11-01", &[("followers", 500), ("likes", 8)]),
                // An artist who does not post; a number that is rounded; nothing that could change.
                Account::counts(&[("posts_count", 5), ("likes", 9)])
                    .after_days(20, &[("posts_count", 5), ("likes", 8)]),
                Account::counts(&[("subscribers", 2_300_000), ("likes", 9)])
                    .after_days(20, &[("subscribers", 2_300_000), ("likes", 8)]),
                Account::counts(&[("content_views", 0), ("followers", 9)])
                    .after_days(20, &[("content_views", 0), ("followers", 9)]),
            ],
        ),
        (
            "text-cleaned",
            vec![
                Account::new(&[("top_track", text("a\0b"))]),
                Account::new(&[("top_track", text(&"ø".repeat(501)))]),
                Account::new(&[("genres", Value::Texts(vec!["pop\0".to_owned()]))]),
            ],
            vec![
                Account::new(&[("top_track", text(&"ø".repeat(500)))]),
                Account::new(&[("genres", Value::Texts(vec![]))]),
            ],
        ),
    ]
}

#[test]
fn every_rule_fires_on_its_own_cases_and_on_no_others() {
    for (rule, fires, silent) in table() {
        for (index, account) in fires.iter().enumerate() {
            let fired = account.fired();
            assert!(!fired.is_empty() && fired.iter().all(|id| id == rule), "{rule}, firing case {index}: {fired:?}");
        }
        for (index, account) in silent.iter().enumerate() {
            assert_eq!(account.fired(), Vec::<String>::new(), "{rule}, silent case {index}");
        }
    }
}

#[test]
fn every_rule_of_the_table_is_exercised() {
    let exercised: Vec<_> = table().into_iter().map(|(rule, fires, _)| (rule, !fires.is_empty())).collect();
    let expected: Vec<_> = RULES.iter().map(|rule| (rule.id, true)).collect();
    assert_eq!(exercised, expected);
}

#[test]
fn severities_are_those_of_the_table() {
    let of = |severity| RULES.iter().filter(|rule| rule.severity == severity).map(|rule| rule.id).collect::<Vec<_>>();
    let errors = [
        "identity-missing",
        "metric-unknown",
        "metric-duplicate",
        "value-not-finite",
        "metric-kind",
        "count-negative",
        "engagement-rate-range",
    ];
    let warnings = [
        "engagement-rate-high",
        "followers-jump",
        "followers-drop",
        "counter-fell",
        "likes-exceed-views",
        "stale-source",
    ];
    assert_eq!(of(Severity::Error), errors);
    assert_eq!(of(Severity::Warning), warnings);
    assert_eq!(of(Severity::Note), ["text-cleaned"]);
}

#[test]
fn followers_warnings_say_what_to_do() {
    let finding = |now| {
        Account::counts(&[("followers", now)]).after("2026-11-18", &[("followers", 1000)]).verdict().findings.remove(0)
    };
    let jump = finding(9000);
    assert_eq!(jump.suggestion, "Verify data source accuracy");
    assert_eq!(jump.message, "followers grew 200.00 % a day: from 1000 on 2026-11-18 to 9000, 2 days later");
    assert_eq!(jump.metric.as_deref(), Some("followers"));
    let drop = finding(250);
    assert_eq!(drop.suggestion, "Check for account issues or data collection errors");
    assert_eq!(drop.message, "followers fell 50.00 % a day: from 1000 on 2026-11-18 to 250, 2 days later");
}

#[test]
fn an_error_withholds_that_metric_only() {
    let verdict = Account::counts(&[("followers", -5), ("likes", 7)]).verdict();
    assert_eq!(verdict.values, ints(&[("likes", 7)]));
    assert_eq!(verdict.absent, BTreeMap::from([(name("followers"), Absence::Rejected("count-negative".to_owned()))]));
    let withheld =
        Withheld { metric: "followers".to_owned(), value: Value::Integer(-5), rule: "count-negative".to_owned() };
    assert_eq!(verdict.withheld, [withheld], "the value is kept as it came");
}

#[test]
fn nothing_is_clamped() {
    let verdict = rate(250.0).verdict();
    assert_eq!(verdict.values, BTreeMap::new());
    assert_eq!(verdict.withheld[0].value, Value::Decimal(250.0));
    assert_eq!(verdict.absent[&name("engagement_rate")].to_string(), "rejected:engagement-rate-range");
}

#[test]
fn a_warning_withholds_nothing() {
    let verdict = views_and_likes(1, 17).verdict();
    assert_eq!(verdict.values, ints(&[("content_views", 1), ("likes", 17)]));
    assert_eq!(verdict.withheld, []);
}

#[test]
fn a_row_without_identity_is_withheld_as_a_whole() {
    let verdict = Account { artist: 0, ..Account::counts(&[("followers", 5), ("likes", 7)]) }.verdict();
    assert_eq!(verdict.values, BTreeMap::new());
    assert_eq!(verdict.withheld.len(), 2);
    assert_eq!(verdict.quality_score, 0.0);
}

#[test]
fn misfits_are_withheld_under_the_name_they_came_with() {
    let verdict = Account::misfit("followers", Value::Decimal(f64::NAN))
        .and_misfit("plays", Ok(Value::Integer(3)))
        .and_misfit("No Name\0", Ok(Value::Integer(4)))
        .verdict();
    let rejected = |rule: &str| Absence::Rejected(rule.to_owned());
    assert_eq!(
        verdict.absent,
        BTreeMap::from([
            (name("followers"), rejected("value-not-finite")),
            (name("plays"), rejected("metric-unknown"))
        ])
    );
    let withheld: Vec<_> =
        verdict.withheld.iter().map(|withheld| (withheld.metric.as_str(), withheld.value.clone())).collect();
    assert_eq!(withheld, [("followers", text("NaN")), ("plays", Value::Integer(3)), ("No Name", Value::Integer(4))]);
}

#[test]
fn a_reported_engagement_rate_leaves_the_hosts_own_in_place() {
    let verdict = rate(3.0).and_misfit_of_computed("engagement_rate", Value::Decimal(99.0)).verdict();
    assert_eq!(verdict.values[&name("engagement_rate")], Value::Decimal(3.0));
    assert!(!verdict.absent.contains_key(&name("engagement_rate")));
    assert_eq!(verdict.withheld[0].value, Value::Decimal(99.0));
}

impl Account {
    /// A misfit with the name of a value that the host computed.
    fn and_misfit_of_computed(mut self, metric: &str, value: Value) -> Self {
        self.conformed.misfits.push(Reported { name: metric.to_owned(), value: Ok(value), coverage: None });
        self
    }
}

#[test]
fn absences_pass_through() {
    let mut account = Account::new(&[]);
    account.conformed.values.insert(name("followers"), Err(Absence::Hidden));
    let verdict = account.verdict();
    assert_eq!(verdict.absent, BTreeMap::from([(name("followers"), Absence::Hidden)]));
    assert_eq!((verdict.findings.len(), verdict.quality_score), (0, 1.0));
}

#[test]
fn texts_are_stored_clean() {
    let verdict = Account::new(&[("top_track", text("a\0b"))]).verdict();
    assert_eq!(verdict.values[&name("top_track")], text("ab"));
    assert_eq!(verdict.findings[0].severity, Severity::Note);
    assert_eq!(verdict.quality_score, 1.0);
}

#[test]
fn quality_score_is_one_less_the_weights_of_the_rules_that_fired() {
    assert_eq!(views_and_likes(1, 17).verdict().quality_score, 0.9);
    assert_eq!(Account::counts(&[("followers", -5)]).verdict().quality_score, 0.7);
    let one_rule_twice = Account::counts(&[("followers", -5), ("content_views", -5)]).verdict();
    assert_eq!((one_rule_twice.findings.len(), one_rule_twice.quality_score), (2, 0.7));
    let everything = Account::counts(&[("followers", -5)])
        .and_misfit("plays", Ok(Value::Integer(1)))
        .and_misfit("popularity", Ok(Value::Decimal(f64::NAN)))
        .and_misfit("top_track", Ok(Value::Integer(1)))
        .verdict();
    assert_eq!(everything.quality_score, 0.0, "never below 0");
}

#[test]
fn severities_weights_and_thresholds_are_configurable_globally_and_per_platform() {
    let jump = || Account::counts(&[("followers", 2100)]).after("2026-11-19", &[("followers", 1000)]);
    let judged = |toml: &str| {
        let verdict = jump().configured(toml).verdict();
        (verdict.findings.first().map(|finding| finding.severity), verdict.withheld.len(), verdict.quality_score)
    };
    assert_eq!(judged(""), (Some(Severity::Warning), 0, 0.9));
    assert_eq!(judged("[rules.followers-jump]\nweight = 0.25"), (Some(Severity::Warning), 0, 0.75));
    assert_eq!(judged("[rules.followers-jump]\nseverity = 'note'"), (Some(Severity::Note), 0, 1.0));
    assert_eq!(judged("[platform.example.rules.followers-jump]\nseverity = 'error'"), (Some(Severity::Error), 1, 0.7));
    assert_eq!(judged("[platform.other.rules.followers-jump]\nseverity = 'error'"), (Some(Severity::Warning), 0, 0.9));
    let both = "[rules.followers-jump]\nweight = 0.25\n[platform.example.rules.followers-jump]\nseverity = 'error'";
    assert_eq!(judged(both), (Some(Severity::Error), 1, 0.7), "a weight belongs to the severity it was set with");
    assert_eq!(judged("[thresholds]\nfollowers_growth_percent_max = 200"), (None, 0, 1.0));
    assert_eq!(judged("[platform.example.thresholds]\nfollowers_growth_percent_max = 200"), (None, 0, 1.0));
    assert_eq!(
        judged("[platform.other.thresholds]\nfollowers_growth_percent_max = 200"),
        (Some(Severity::Warning), 0, 0.9)
    );
}

#[test]
fn an_invalid_configuration_can_not_be_parsed() {
    let problem = |toml: &str| toml::from_str::<ValidationConfig>(toml).unwrap_err().to_string();
    assert!(
        problem("[rules.follower-jump]\nweight = 0")
            .contains("there is no validation rule 'follower-jump'; the rules are identity-missing")
    );
    assert!(problem("[rules.followers-jump]\nweight = 1.5").contains("is not between 0 and 1"));
    assert!(problem("[rules.followers-jump]\nweight = nan").contains("is not between 0 and 1"));
    assert!(problem("[rules.metric-kind]\nseverity = 'note'").contains("must stay an error"));
    assert!(problem("[platform.example.rules.nothing]\nweight = 0").contains("there is no validation rule 'nothing'"));
    assert!(problem("[thresholds]\nfollowers = 1").contains("unknown field"));
}

#[test]
fn a_configuration_survives_being_written() {
    let toml = "[rules.followers-jump]\nseverity = \"error\"\n[platform.example.thresholds]\nstale_days = 30\n";
    let config: ValidationConfig = toml::from_str(toml).unwrap();
    let written = toml::to_string(&config).unwrap();
    assert_eq!(toml::from_str::<ValidationConfig>(&written).unwrap(), config);
    assert!(written.contains("stale_days = 30"), "{written}");
}

#[test]
fn whatever_a_connector_counts_the_verdict_is_complete() {
    // A metric is in `values` or in `absent`, never in both, and none is lost.
    for (_, fires, silent) in table() {
        for account in fires.into_iter().chain(silent) {
            let verdict = account.verdict();
            assert!(verdict.values.keys().all(|metric| !verdict.absent.contains_key(metric)));
            assert!(
                account
                    .conformed
                    .values
                    .keys()
                    .all(|metric| verdict.values.contains_key(metric) || verdict.absent.contains_key(metric))
            );
            assert!((0.0..=1.0).contains(&verdict.quality_score));
        }
    }
}

#[test]
fn only_numbers_are_compared_with_earlier_values() {
    for rule in RULES.iter().filter(|rule| matches!(rule.check, Check::Compared(_))) {
        let is_of_numbers = match rule.applies_to {
            AppliesTo::Counts | AppliesTo::Counters => true,
            AppliesTo::Metric(metric) => ![names::TOP_TRACK, names::GENRES].contains(&metric),
            AppliesTo::Row | AppliesTo::Misfits | AppliesTo::Texts => false,
        };
        assert!(is_of_numbers, "{} would be checked where rows are locked", rule.id);
    }
}

#[test]
fn the_second_step_needs_no_misfits_and_no_long_texts() {
    let long = "x".repeat(1 << 20);
    let mut account = Account::new(&[("top_track", text(&long)), ("followers", Value::Integer(9_000))])
        .and_misfit("plays", Ok(text(&long)))
        .and_misfit("likes", Ok(Value::Decimal(f64::NAN)))
        .after("2026-11-18", &[("followers", 1_000)]);
    let (whole, screened) = (account.verdict(), account.screened());
    let rules: Vec<&str> = whole.findings.iter().map(|finding| finding.rule.as_str()).collect();
    assert_eq!(rules, ["metric-unknown", "value-not-finite", "followers-jump", "text-cleaned"], "in the table's order");
    account.conformed.misfits.clear();
    account.conformed.values.insert(name("top_track"), Ok(text("")));
    assert_eq!(account.judged(&screened), whole);
}
