//! Every table of the command line, with a row such as operators see, at 80 and at 120 columns.

use super::table::tests::fits;
use super::timeline;
use crate::cli::access::{audit, credentials, keys, tokens};
use crate::cli::artists::{accounts, attention, consents};
use crate::cli::events::webhooks;
use crate::cli::numbers::{archive, metrics, quarantine};
use crate::cli::service::{health, hosts};
use crate::cli::work::{batches, bulk, outcomes, pauses, run, runs, schedules};
use crate::cli::{artists, plugins};

const ID: &str = "0199f1de-0000-7aa1-b7a4-0c2b6f5d8e22";

const AT: &str = "2026-11-22 12:00:00Z";

#[test]
fn every_table_fits_80_and_120_columns() {
    fits(
        &artists::HEADERS,
        &[ID, "The Ada Lovelace Orchestra", "label_west", "active", "on", "America/Argentina/Buenos_Aires"],
    );
    fits(
        &artists::ACCOUNT_HEADERS,
        &[ID, "youtube_analytics", "UCBR8-60-B28hp2BmDPdntcQ", "reconnect_needed", "withdrawn"],
    );
    fits(
        &accounts::HEADERS,
        &[
            ID,
            "The Ada Lovelace Orchestra",
            ID,
            "instagram_business",
            "UCBR8-60-B28hp2BmDPdntcQ",
            "active",
            "{\"storefronts\":[\"us\",\"gb\"]}",
        ],
    );
    fits(
        &attention::HEADERS,
        &[
            "Ada Lovelace",
            "tiktok",
            "1234567890",
            "the artist has to connect it again",
            "ask the artist for a new authorisation, then `backline credentials set tiktok token --account 0199f1de`",
        ],
    );
    fits(
        &bulk::HEADERS,
        &[ID, "quarantine_discard", "cancelled", "12000", "12000", "40", "3", AT, "the platform's numbers were wrong"],
    );
    fits(
        &timeline::HEADERS,
        &[AT, "lost_metric", "account.reconnect_needed", "attempts 1 · metric_date 2026-11-22 · run 0199f1de"],
    );
    fits(&archive::RUN_HEADERS, &[AT, AT, "host-a", "done", "metrics moved: 120000, documents deleted: 4000"]);
    fits(
        &archive::STEP_HEADERS,
        &["move", "metrics", "tenant label, not platform youtube", "2025-11-22", "1200000", "metrics after 400 days"],
    );
    fits(
        &batches::HEADERS,
        &[
            ID,
            "deferred",
            "youtube",
            "label",
            "50",
            "3",
            AT,
            "host-a-4711",
            "the budget 'units' of the slot 'app' is spent",
        ],
    );
    fits(
        &batches::ACCOUNT_HEADERS,
        &[
            "The Ada Lovelace Orchestra",
            "UCBR8-60-B28hp2BmDPdntcQ",
            "2026-11-22",
            "misconfigured",
            "the platform refused the key: HTTP 401",
        ],
    );
    fits(&consents::HEADERS, &[AT, "youtube", "metrics", "withdrawn", "letter of 2026-11-20, signed by the artist"]);
    fits(&credentials::HEADERS, &["instagram", "token", "17841400000000000", ID, "refresh-token", "active", AT, AT]);
    fits(
        &schedules::HEADERS,
        &["nightly", "0 2 * * *", "Europe/Berlin", "youtube, spotify", AT, AT, "last", "skip", "config", "yes"],
    );
    fits(&schedules::FIRE_HEADERS, &["nightly", AT, "started", ID, AT]);
    fits(
        &audit::HEADERS,
        &[
            AT,
            "operator@collector-1",
            "203.0.113.17",
            "plugins canary start",
            "partial",
            "label_west",
            ID,
            "{\"name\":\"youtube\",\"version\":\"1.2.0\"}",
        ],
    );
    fits(&pauses::HEADERS, &["credential/0199f1de", "instagram_business", AT, AT]);
    fits(&tokens::HEADERS, &[ID, "dashboard of the west coast", "operator", "label_west", "expired", AT, AT, AT]);
    fits(
        &webhooks::HEADERS,
        &[
            "app",
            "webhook",
            "https://app.example.com/hooks/backline",
            "metrics.*, connector.*",
            "label",
            "off: answered 410",
            AT,
        ],
    );
    fits(
        &webhooks::DELIVERY_HEADERS,
        &[
            "app",
            ID,
            "metrics.significant_change",
            "Ada Lovelace",
            "waiting",
            "7",
            AT,
            "500",
            "the receiver answered with status 500",
        ],
    );
    fits(
        &quarantine::HEADERS,
        &[ID, "2026-11-22", "youtube", "The Ada Lovelace Orchestra", ID, "followers", "12345678901", "jump", "held"],
    );
    fits(&runs::HEADERS, &[ID, AT, "artist's today", "nightly", "partial", "20000", "19870", "100", "20", "10", "40"]);
    fits(
        &outcomes::HEADERS,
        &[
            "The Ada Lovelace Orchestra",
            "UCBR8-60-B28hp2BmDPdntcQ",
            "2026-11-22",
            "the platform refused the key: HTTP 401",
        ],
    );
    fits(
        &run::PLAN_HEADERS,
        &[
            "instagram_business",
            "1.1.0",
            "20000",
            "400",
            "60000",
            "units 70000",
            "14.2 min",
            "12 no_consent, 3 disabled",
        ],
    );
    fits(
        &run::ALLOWANCE_HEADERS,
        &[
            "instagram_business",
            "requests",
            "each account",
            "10000",
            "1 day from midnight America/Los_Angeles",
            "120000",
            "10000",
            AT,
        ],
    );
    fits(&run::RUN_HEADERS, &["instagram_business", "20000", "19870", "100", "30", "10", "40", "60000"]);
    fits(
        &[&metrics::ARTIST_HEADERS[..], &metrics::METRIC_HEADERS].concat(),
        &[
            "The Ada Lovelace Orchestra",
            ID,
            "2026-11-22",
            "youtube",
            "subscribers_gained",
            "12,345,678,901",
            "people, 28 days",
            "fell by 40 % since the day before",
        ],
    );
    fits(
        &[&metrics::ARTIST_HEADERS[..], &metrics::GROWTH_HEADERS].concat(),
        &[
            "The Ada Lovelace Orchestra",
            ID,
            "2026-11-22",
            "youtube",
            "followers",
            "+120 (+1.50 %)",
            "gap (+0.50 % a day)",
            "+12000 (+15.00 %)",
            "first",
        ],
    );
    fits(&hosts::HEADERS, &["collector-1-4711-a8f3", "0.1.0", "working", AT, AT, "yes", "yes"]);
    fits(
        &health::HEADERS,
        &[
            "instagram_business (optional)",
            "99.8",
            "19870",
            "20000",
            "100",
            "0",
            "0",
            "15050",
            "30",
            "40",
            "99.3 %",
            "0.5 %",
            "0.25 h",
            "99.9 %",
        ],
    );
    fits(&health::ALERT_HEADERS, &["completion_ratio", "youtube_analytics", "firing", AT, "0.4500", "0.9500"]);
    fits(
        &keys::HEADERS,
        &["3f1d2a4b5c6d", "opens", "120", "3", "`backline keys rotate` encrypts these with the current key"],
    );
    fits(
        &plugins::HEADERS,
        &[
            "instagram_business",
            "instagram-business",
            "1.1.0",
            "018f4e6a7c1d",
            "active",
            "oci://registry.example.com/instagram-business:1.1.0",
            "acme",
            AT,
        ],
    );
}
