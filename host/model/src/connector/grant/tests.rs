//! Which changes count as more than a grant, and which do not.

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::fixtures::manifest_with;
use crate::origin::Origin;

const TABLES: &str = r#"
    [[host]]
    origin = "https://api.test"
    methods = ["GET"]
    reason = "numbers"

    [[host]]
    origin = "https://*.cdn.test"
    methods = ["GET", "POST"]
    reason = "pages"

    [[credential]]
    slot = "app"
    kind = "oauth2-client-credentials"
    owner = "operator"
    inject = "bearer"
    hosts = ["https://api.test"]
    token_url = "https://accounts.test/token"

    [[budget]]
    name = "units"
    slot = "app"
    limit = 100
    window = { seconds = 60 }
    costs = [{ path = "/v1/search", units = 50 }]

    [policy]
    documents_days = 30
    forbids_ai = true
    note = "the platform's terms"
"#;

/// The manifest that the tests start from.
static MANIFEST: LazyLock<String> = LazyLock::new(|| manifest_with(TABLES));

const IMPORTS: [&str; 2] = ["backline:connector/http@1.0.0", "backline:connector/types@1.0.0"];

fn imports(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn asked(manifest: &str) -> Permissions {
    let manifest = Manifest::parse(manifest).unwrap_or_else(|error| panic!("{error}"));
    Permissions::asked(&manifest, &imports(&IMPORTS))
}

/// How a manifest with one edit differs from what the manifest without it was granted.
fn after(from: &str, to: &str) -> Difference {
    assert!(MANIFEST.contains(from), "{from}");
    Difference::between(&Grant::of(asked(&MANIFEST)), &asked(&MANIFEST.replace(from, to)))
}

#[test]
fn a_limit_of_the_platform_that_turns_looser_asks_for_more() {
    let own = MANIFEST
        .replace("slot = \"app\"\n    limit", "limit")
        .replace("seconds = 60 }", "rolling = 60 }\n    burst = 50");
    let after = |from: &str, to: &str| {
        assert!(own.contains(from), "{from}");
        Difference::between(&Grant::of(asked(&own)), &asked(&own.replace(from, to))).to_string()
    };
    assert_eq!(after("burst = 50", "burst = 60"), "+ budget units: 60 units at once instead of 50");
    assert_eq!(
        after("rolling = 60 }\n    burst = 50", "seconds = 60 }"),
        "+ budget units: every 60 s instead of in any 60 s"
    );
    assert_eq!(
        after("limit = 100", "slot = \"app\"\n    limit = 100"),
        "+ budget units: of the secret app instead of the whole platform"
    );
    // Nothing else is asked of a connector that has no slot any more; its limit goes all the same.
    let none = own.find("[[budget]]").zip(own.find("[policy]")).map(|(from, to)| own[from..to].to_owned());
    let none = none.expect("the budget is before the policy");
    assert_eq!(after(&none, ""), "+ budget units: no longer held to it");
}

#[test]
fn what_is_more_is_shown_on_a_line_and_nothing_else_is() {
    let host = "\n[[host]]\norigin = \"https://more.test\"\nmethods = [\"GET\"]\nreason = \"ages\"\n[[credential]]";
    for (from, to, shown) in [
        ("[[credential]]", host, "+ GET https://more.test: ages"),
        ("[\"GET\"]", "[\"GET\", \"DELETE\"]", "+ DELETE https://api.test: numbers"),
        ("https://*.cdn.test", "https://a.cdn.test", "- GET, POST https://*.cdn.test"),
        (
            "accounts.test",
            "evil.test",
            "+ secret app: tokens from https://evil.test/token instead of tokens from https://accounts.test/token",
        ),
        (
            "\"bearer\"",
            "{ query = \"t\" }",
            "+ secret app: put into the query parameter t instead of put into the Authorization header",
        ),
        (
            "hosts = [\"https://api.test\"]",
            "hosts = [\"https://api.test\", \"https://x.cdn.test\"]",
            "+ secret app: sent to https://x.cdn.test",
        ),
        ("owner = \"operator\"", "owner = \"account\"", "+ secret app: each account's own instead of yours"),
        ("limit = 100", "limit = 200", "+ budget units: 200 units instead of 100"),
        ("limit = 100", "limit = 60", "- budget units: 60 units every 60 s, stricter than before"),
        ("seconds = 60", "seconds = 30", "+ budget units: every 30 s instead of every 60 s"),
        ("seconds = 60", "seconds = 120", "- budget units: 100 units every 120 s, stricter than before"),
        ("seconds = 60", "seconds = 90", "+ budget units: every 90 s instead of every 60 s"),
        ("seconds = 60", "rolling = 60", "- budget units: 100 units in any 60 s, stricter than before"),
        ("seconds = 60", "rolling = 59", "+ budget units: in any 59 s instead of every 60 s"),
        (
            "slot = \"app\"\n    limit",
            "limit",
            "- budget units: 100 units every 60 s, for the whole platform (no credential), stricter than before",
        ),
        ("units = 50", "units = 49", "+ budget units: requests cost less"),
        ("limit = 100", "limit = 100\ndefault_cost = 0", "+ budget units: requests cost less"),
        ("units = 50", "units = 51", "- budget units: 100 units every 60 s, stricter than before"),
        (
            "documents_days = 30",
            "documents_days = 31",
            "+ documents kept 31 days instead of 30 days: the platform's terms",
        ),
        (
            "documents_days = 30",
            "",
            "+ documents kept as long as the host's default instead of 30 days: the platform's terms",
        ),
        (
            "documents_days = 30",
            "documents_days = 30\nmetrics_days = 9",
            "- metrics kept 9 days instead of as long as the host's default",
        ),
        (
            "forbids_ai = true",
            "forbids_ai = false",
            "+ AI use of its numbers, which was forbidden: the platform's terms",
        ),
        ("batch_size = 2", "batch_size = 20", ""),
        ("reason = \"numbers\"", "reason = \"followers\"", ""),
    ] {
        assert_eq!(after(from, to).to_string(), shown, "{from} → {to}");
    }
}

#[test]
fn accounts_whose_owner_authorised_it_may_have_days_of_their_own() {
    let own = "documents_days = 30\n    metrics_days = 30\n    unless_authorised = true";
    let own = MANIFEST.replace("documents_days = 30", own);
    let limited = own.replace("unless_authorised = true", "unless_authorised = true\n    authorised_days = 90");
    let longer = limited.replace("authorised_days = 90", "authorised_days = 120");
    let between = |from: &str, to: &str| Difference::between(&Grant::of(asked(from)), &asked(to)).to_string();
    assert_eq!(between(&limited, &limited), "");
    assert_eq!(between(&own, &limited), "- kept up to 90 days for accounts whose owner has authorised it");
    assert_eq!(
        between(&limited, &longer),
        "+ kept up to 120 days for accounts whose owner has authorised it: the platform's terms"
    );
    assert_eq!(between(&limited, &own), "+ longer for accounts whose owner has authorised it: the platform's terms");
    let both =
        longer.replace("metrics_days = 30", "metrics_days = 60").replace("documents_days = 30", "documents_days = 60");
    let lines = between(&limited, &both);
    assert!(lines.contains("metrics kept 60 days instead of 30") && lines.contains("kept up to 120 days"), "{lines}");
    let told = describe_policy(&asked(&limited).policy);
    assert!(told.contains(&"90 days at most for accounts whose owner has authorised it".to_owned()), "{told:?}");
    for wrong in ["authorised_days = 29", "authorised_days = 0"] {
        let problem = Manifest::parse(&limited.replace("authorised_days = 90", wrong)).expect_err(wrong).to_string();
        assert!(problem.contains("policy.authorised_days"), "{problem}");
    }
    let half = limited.replace("metrics_days = 30\n", "");
    let problem = Manifest::parse(&half).expect_err("metrics of all accounts would go after 90 days").to_string();
    assert!(problem.contains("documents_days and metrics_days"), "{problem}");
    let alone = MANIFEST.replace("documents_days = 30", "authorised_days = 90");
    assert!(Manifest::parse(&alone).expect_err("refused").to_string().contains("unless_authorised = true"));
}

#[test]
fn a_budget_that_goes_frees_the_connector_and_one_that_comes_binds_it() {
    let (head, tail) = MANIFEST.split_once("[[budget]]").expect("a budget");
    let without = format!("{head}{}", &tail[tail.find("[policy]").expect("a policy")..]);
    let gone = Difference::between(&Grant::of(asked(&MANIFEST)), &asked(&without));
    assert_eq!(gone.to_string(), "+ budget units: no longer held to it");
    let come = Difference::between(&Grant::of(asked(&without)), &asked(&MANIFEST));
    assert!(come.added.is_empty() && come.removed.len() == 1, "{come}");
}

#[test]
fn the_operators_own_limit_holds_whatever_the_manifest_says() {
    let grant = Grant::of(asked(&MANIFEST)).with_budgets([("units".to_owned(), 5)].into());
    assert!(grant.allows(&asked(&MANIFEST.replace("limit = 100", "limit = 200"))));
    assert!(!grant.allows(&asked(&MANIFEST.replace("seconds = 60", "seconds = 30"))));
}

#[test]
fn a_new_interface_is_more_and_a_new_version_of_one_is_not() {
    let manifest = Manifest::parse(&MANIFEST).expect("a manifest");
    let grant = Grant::all_of(&manifest, &imports(&IMPORTS));
    let with = |name: &str| Permissions::asked(&manifest, &imports(&[IMPORTS[0], IMPORTS[1], name]));
    assert!(grant.allows(&with("backline:connector/http@1.1.0")));
    let more = Difference::between(&grant, &with("wasi:sockets/tcp@0.2.6"));
    assert_eq!(more.to_string(), "+ import wasi:sockets/tcp");
}

#[test]
fn a_slot_is_usable_only_on_the_terms_it_was_granted_on() {
    let grant = Grant::of(asked(&MANIFEST));
    let usable = |from: &str, to: &str| grant.lets_use(&asked(&MANIFEST.replace(from, to)).slots[0]);
    assert!(usable("nothing", "changes"));
    assert!(!usable("accounts.test", "evil.test"));
    assert!(!usable("\"bearer\"", "{ header = \"x-token\" }"));
    assert!(!usable("hosts = [\"https://api.test\"]", "hosts = [\"https://a.cdn.test\"]"));
    assert!(!usable("slot = \"app\"", "slot = \"other\""));
}

#[test]
fn a_grant_is_read_as_it_was_printed() {
    let grant = Grant::of(asked(&MANIFEST)).with_budgets([("units".to_owned(), 5)].into());
    let text = toml::to_string(&grant).expect("a grant is TOML");
    assert_eq!(toml::from_str::<Grant>(&text).expect("a grant"), grant, "{text}");
    assert!(toml::from_str::<Grant>("hosts = []").is_err(), "a key that means nothing is refused");
}

#[test]
fn narrowing_takes_away_what_it_names_and_nothing_else() {
    let grant = Grant::of(asked(&MANIFEST));
    let hosts = |origin: &str| grant.without_host(&origin.parse().expect("an origin")).map(|grant| grant.hosts.len());
    assert_eq!(
        (hosts("https://api.test"), hosts("https://*.cdn.test"), hosts("https://a.cdn.test")),
        (Some(1), Some(1), None)
    );
    assert_eq!(grant.without_slot("app").map(|grant| grant.slots.len()), Some(0));
    assert_eq!(grant.without_slot("other"), None);
}

#[test]
fn a_grant_over_a_public_suffix_is_refused_where_it_enters() {
    let grant = Grant::of(asked(&MANIFEST));
    assert_eq!(grant.check_owners(), Ok(()));
    let wide: OriginPattern = "https://*.github.io".parse().expect("a pattern");
    let mut hosts = grant.clone();
    hosts.hosts[0].origin = wide.clone();
    let mut slots = grant;
    slots.slots[0].hosts.push(wide.clone());
    for grant in [hosts, slots] {
        let refused = grant.check_owners().expect_err("refused").to_string();
        assert!(refused.contains("https://*.github.io"), "{refused}");
    }
}

const PATTERNS: [&str; 6] = [
    "https://example.com",
    "https://a.example.com",
    "https://*.example.com",
    "https://*.a.example.com",
    "https://a.example.com:8443",
    "https://other.test",
];

/// Hosts that tell the patterns apart: for each pattern one that no other matches.
const ORIGINS: [&str; 7] = [
    "https://example.com",
    "https://a.example.com",
    "https://zz.example.com",
    "https://zz.a.example.com",
    "https://a.example.com:8443",
    "https://other.test",
    "https://evil-example.com",
];

fn some_hosts() -> impl Strategy<Value = Vec<HostRequest>> {
    let methods = subsequence(vec![Method::Get, Method::Post, Method::Delete], 1..=2);
    let host = (select(PATTERNS.to_vec()), methods).prop_map(|(origin, methods)| HostRequest {
        origin: origin.parse().expect("a pattern"),
        methods,
        reason: "a reason".to_owned(),
    });
    proptest::collection::vec(host, 0..4)
}

fn some_slots() -> impl Strategy<Value = Vec<CredentialSlot>> {
    let template = asked(&MANIFEST).slots.remove(0);
    let slot = (
        select(vec!["app", "user"]),
        subsequence(PATTERNS.to_vec(), 1..=2),
        select(vec!["https://t.test/a", "https://t.test/b"]),
        any::<bool>(),
    );
    let slot = slot.prop_map(move |(name, hosts, token_url, in_header)| CredentialSlot {
        slot: name.to_owned(),
        inject: if in_header { Inject::Header("x".to_owned()) } else { Inject::Bearer },
        hosts: hosts.iter().map(|host| host.parse().expect("a pattern")).collect(),
        token_url: Some(token_url.parse().expect("a URL")),
        ..template.clone()
    });
    proptest::collection::vec(slot, 0..3).prop_map(|mut slots: Vec<CredentialSlot>| {
        slots.sort_by(|a, b| a.slot.cmp(&b.slot));
        slots.dedup_by(|a, b| a.slot == b.slot);
        slots
    })
}

fn some_budget() -> impl Strategy<Value = Budget> {
    let template = asked(&MANIFEST).allowances.remove(0);
    let costs = proptest::collection::vec((select(vec!["/a", "/a/b", "/A/B", "/c"]), 0_u64..4), 0..3);
    (1_u64..4, 0_u64..4, costs).prop_map(move |(limit, default_cost, costs)| Budget {
        limit,
        default_cost,
        costs: costs
            .into_iter()
            .map(|(path, units)| crate::manifest::PathCost { path: path.to_owned(), units })
            .collect(),
        ..template.clone()
    })
}

fn some_permissions() -> impl Strategy<Value = Permissions> {
    let days = || proptest::option::of(1_u32..4);
    let kept = (days(), days(), any::<bool>(), days());
    (some_hosts(), some_slots(), kept, any::<bool>(), subsequence(IMPORTS.to_vec(), 0..=2)).prop_map(
        |(hosts, slots, kept, forbids_ai, names)| {
            let (documents_days, metrics_days, unless_authorised, authorised_days) = kept;
            let note = String::new();
            Permissions {
                hosts,
                slots,
                allowances: Vec::new(),
                policy: Policy { documents_days, metrics_days, unless_authorised, authorised_days, forbids_ai, note },
                imports: interfaces(&imports(&names)),
            }
        },
    )
}

/// Everything that these permissions allow, one by one: a second, independent definition of a comparison.
fn deeds(permissions: &Permissions) -> std::collections::BTreeSet<String> {
    let mut deeds = std::collections::BTreeSet::new();
    let matching = |pattern: &OriginPattern| {
        let pattern = pattern.clone();
        ORIGINS
            .iter()
            .filter(move |origin| pattern.matches(&Origin::of(&origin.parse().expect("a URL")).expect("an origin")))
    };
    for host in &permissions.hosts {
        for (origin, method) in
            matching(&host.origin).flat_map(|origin| host.methods.iter().map(move |method| (origin, method)))
        {
            deeds.insert(format!("{} {origin}", method.as_str()));
        }
    }
    for slot in &permissions.slots {
        for origin in slot.hosts.iter().flat_map(matching) {
            deeds.insert(format!("{} {:?} {:?} {origin}", slot.slot, slot.inject, slot.token_url));
        }
    }
    for (what, days) in [("documents", permissions.policy.documents_days), ("metrics", permissions.policy.metrics_days)]
    {
        deeds.extend((1..=days.unwrap_or(9)).map(|day| format!("{what} on day {day}")));
        let of_authorised = days.filter(|_| !permissions.policy.unless_authorised).unwrap_or(9);
        let of_authorised = of_authorised.min(permissions.policy.authorised_days.unwrap_or(9));
        deeds.extend((1..=of_authorised).map(|day| format!("{what} of authorised accounts on day {day}")));
    }
    if !permissions.policy.forbids_ai {
        deeds.insert("AI".to_owned());
    }
    deeds.extend(permissions.imports.iter().cloned());
    deeds
}

proptest! {
    #[test]
    fn nothing_is_added_where_and_only_where_all_that_is_asked_could_be_done_before(
        granted in some_permissions(),
        asked in some_permissions(),
    ) {
        let difference = Difference::between(&Grant::of(granted.clone()), &asked);
        let subset = deeds(&asked).is_subset(&deeds(&granted));
        prop_assert_eq!(difference.added.is_empty(), subset, "{}", difference);
    }

    #[test]
    fn whatever_is_granted_as_it_is_asked_differs_in_nothing(asked in some_permissions()) {
        prop_assert!(Difference::between(&Grant::of(asked.clone()), &asked).is_empty());
    }

    #[test]
    fn terms_that_are_no_more_make_no_request_cheaper(
        own in some_budget(),
        new in some_budget(),
        path in "(/[aAbBc]|//|/%61){1,3}",
    ) {
        if more_of_budget(&own, &new, false).is_empty() {
            prop_assert!(new.limit <= own.limit);
            prop_assert!(new.cost_of(&path) >= own.cost_of(&path), "{path}");
        }
    }
}
