//! All operations of the API, in one table. The routes and the document are both made of it, and a parameter or an
//! answer is described by the very type that the handler takes or returns.

use super::handlers::{
    acts, artists, bulk, connectors, digests, freshness, installation, numbers, people, receivers, webhooks, work,
};
pub(super) use super::operation::{Answered, Operation, Reach};
use backline_model::Role;

/// All operations.
pub(super) fn all() -> Vec<Operation> {
    vec![
        Operation::get("/v1/token", "token", "The token that is given", installation::token).by(Role::Numbers),
        Operation::get("/v1/tenants", "tenants", "The tenants that the token reaches", artists::tenants)
            .by(Role::Numbers),
        Operation::get(
            "/v1/tenants/{tenant}/health",
            "tenant_health",
            "How a tenant's collection goes",
            artists::health,
        )
        .heavy(),
        Operation::get("/v1/artists", "artists", "Artists, by id", artists::list).by(Role::Numbers),
        Operation::get("/v1/artists/{artist}", "artist", "One artist", artists::get).by(Role::Numbers),
        Operation::get(
            "/v1/artists/{artist}/consents",
            "artist_consents",
            "What an artist consented to and withdrew, the earliest first",
            artists::consents,
        ),
        Operation::get("/v1/accounts", "accounts", "Artists' accounts on platforms, by id", artists::accounts)
            .by(Role::Numbers),
        Operation::get("/v1/accounts/{account}", "account", "One account", artists::account).by(Role::Numbers),
        Operation::get(
            "/v1/accounts/{account}/timeline",
            "account_timeline",
            "What happened to an account, the latest first; what people did, for admins",
            artists::timeline,
        ),
        Operation::get(
            "/v1/attention",
            "attention",
            "Accounts that can't be collected until someone does something, and what that is; by id",
            artists::attention,
        )
        .heavy(),
        Operation::get("/v1/metrics", "metrics", "Collected numbers, the latest date first", numbers::metrics)
            .by(Role::Numbers),
        Operation::get(
            "/v1/growth",
            "growth",
            "How numbers changed over 1, 7, 28 and 90 days, the latest date first",
            numbers::growth,
        )
        .by(Role::Numbers),
        Operation::get(
            "/v1/freshness",
            "freshness",
            "Whether the numbers that were due last are there, by platform; may wait until they are",
            freshness::list,
        )
        .by(Role::Numbers),
        Operation::get(
            "/v1/quarantine",
            "quarantine",
            "Values that failed validation, the latest first",
            numbers::quarantine,
        ),
        Operation::get("/v1/quarantine/{value}", "quarantined", "One value that failed validation", numbers::withheld),
        Operation::get("/v1/runs", "runs", "Runs, the latest first", work::runs),
        Operation::get("/v1/runs/{run}", "run", "One run", work::run),
        Operation::get(
            "/v1/runs/{run}/outcomes",
            "run_outcomes",
            "How each account ended in a run, by account id",
            work::outcomes,
        ),
        Operation::get("/v1/batches", "batches", "Batches, the latest first", work::batches),
        Operation::get("/v1/batches/{batch}", "batch", "One batch", work::batch),
        Operation::get(
            "/v1/batches/{batch}/accounts",
            "batch_accounts",
            "The accounts of a batch, in its order",
            work::batch_accounts,
        ),
        Operation::get("/v1/bulk", "bulk", "Acts on everything that a filter showed, the latest first", bulk::list),
        Operation::get("/v1/bulk/{act}", "bulk_act", "One of them, with how far it has come", bulk::get),
        Operation::get(
            "/v1/bulk/count",
            "bulk_count",
            "What a filter shows for an action, or for each: how many, and the first of them; nothing is done",
            bulk::count,
        )
        .by(Role::Operator)
        .heavy(),
        Operation::get("/v1/events", "events", "What happened, the earliest first", webhooks::events),
        Operation::get(
            "/v1/events/stream",
            "events_stream",
            "Events as they come, as server-sent events; `Last-Event-ID` goes on after an earlier one",
            webhooks::stream,
        ),
        Operation::get("/v1/events/{event}", "event", "One event", webhooks::event),
        Operation::get("/v1/webhooks", "webhooks", "Where events are sent, by name", webhooks::list).by(Role::Operator),
        Operation::get(
            "/v1/deliveries",
            "deliveries",
            "What was sent to webhooks, the latest event first",
            webhooks::deliveries,
        )
        .by(Role::Operator),
        Operation::get("/v1/digests", "digests", "What people are told again and again, by name", digests::list)
            .by(Role::Operator)
            .of_installation(),
        Operation::get(
            "/v1/digests/{name}/preview",
            "digest_preview",
            "A digest as it would be sent now; nothing is sent",
            digests::preview,
        )
        .by(Role::Operator)
        .heavy()
        .of_installation(),
        Operation::get("/v1/audit", "audit", "Who did what, the latest first", installation::audit).by(Role::Admin),
        Operation::get("/v1/tokens", "tokens", "Tokens, without what they are recognised by", installation::tokens)
            .by(Role::Admin),
        Operation::get("/v1/credentials", "credentials", "Credentials, without their secrets", people::credentials)
            .by(Role::Operator),
        Operation::get("/v1/logs", "logs", "What connectors logged, the latest first", connectors::logs),
        Operation::get(
            "/v1/canaries",
            "canaries",
            "Releases that collect a share of the accounts",
            connectors::canaries,
        )
        .of_installation(),
        Operation::get(
            "/v1/swaps",
            "swaps",
            "Which release collected when, the latest changes first",
            connectors::swaps,
        )
        .of_installation(),
        Operation::get(
            "/v1/connectors/{connector}/timeline",
            "connector_timeline",
            "What happened to a connector and its platform, the latest first; what people did, for admins",
            connectors::timeline,
        )
        .of_installation(),
        Operation::get(
            "/v1/schedules/{schedule}/fires",
            "schedule_fires",
            "What was decided each time a schedule was due, the latest first",
            installation::fires,
        )
        .of_installation(),
        Operation::get(
            "/v1/archive/plan",
            "archive_plan",
            "What a run of the archive would move and delete now",
            installation::archive_plan,
        )
        .heavy()
        .of_installation(),
        Operation::get(
            "/v1/archive/runs",
            "archive_runs",
            "Runs of the archive, the latest first",
            installation::archive_runs,
        )
        .of_installation(),
        Operation::get(
            "/v1/settings",
            "settings",
            "The configuration in force, without secrets",
            installation::settings,
        )
        .by(Role::Admin)
        .of_installation(),
        Operation::get("/v1/plan", "plan", "What a run would do now", work::plan).heavy().of_installation(),
        Operation::get("/v1/pauses", "pauses", "Pauses that platforms asked for", installation::pauses)
            .of_installation(),
        Operation::get("/v1/schedules", "schedules", "When runs are due, by name", installation::schedules)
            .of_installation(),
        Operation::get("/v1/releases", "releases", "Releases of connectors, the latest first", installation::releases)
            .of_installation(),
        Operation::get("/v1/releases/{digest}", "release", "One release", installation::release).of_installation(),
        Operation::get("/v1/hosts", "hosts", "The hosts on the database, by name", installation::hosts)
            .of_installation(),
        Operation::get("/v1/health", "health", "Objectives, alerts and recommendations", installation::health)
            .heavy()
            .of_installation(),
        Operation::post("/v1/runs", "run_start", "run", "Plan a run; the hosts that serve collect it", acts::start_run)
            .of_installation(),
        Operation::post(
            "/v1/runs/{run}/cancel",
            "run_cancel",
            "run cancel",
            "End what is open of a run as excluded; what was collected stays",
            acts::cancel_run,
        )
        .of_installation(),
        Operation::post(
            "/v1/batches/retry",
            "batches_retry",
            "batches retry",
            "Plan dead batches again with all their attempts; their runs continue",
            acts::retry_batches,
        ),
        Operation::post(
            "/v1/bulk",
            "bulk_start",
            "bulk start",
            "Begin an act on everything that a filter shows; the hosts that serve work it off",
            bulk::start,
        ),
        Operation::post(
            "/v1/bulk/{act}/cancel",
            "bulk_cancel",
            "bulk cancel",
            "End an act that goes on; what was done stays",
            bulk::cancel,
        )
        .unkeyed(),
        Operation::post(
            "/v1/quarantine/{value}/release",
            "quarantine_release",
            "quarantine release",
            "Accept a value: it is stored, and growth that depends on it is computed again",
            acts::release,
        ),
        Operation::post(
            "/v1/quarantine/{value}/discard",
            "quarantine_discard",
            "quarantine discard",
            "Discard a value: its metric stays missing",
            acts::discard,
        ),
        Operation::post(
            "/v1/tokens/{token}/revoke",
            "token_revoke",
            "tokens revoke",
            "Revoke a token: it is refused from now on, on every host",
            installation::revoke_token,
        )
        .by(Role::Admin)
        .unkeyed(),
        Operation::post(
            "/v1/artists/{artist}/consents/grant",
            "consent_grant",
            "consents grant",
            "Record that an artist agrees",
            people::grant,
        )
        .unkeyed(),
        Operation::post(
            "/v1/artists/{artist}/consents/withdraw",
            "consent_withdraw",
            "consents withdraw",
            "Record that an artist withdraws consent; tokens of the accounts are removed",
            people::withdraw,
        )
        .unkeyed(),
        Operation::post(
            "/v1/artists/{artist}/erase",
            "artist_erase",
            "privacy erase",
            "Erase everything about an artist, who does not come back unasked",
            people::erase,
        )
        .by(Role::Admin)
        .unkeyed(),
        Operation::post(
            "/v1/accounts/{account}/remove",
            "account_remove",
            "accounts remove",
            "Remove an account that was added by mistake, with all that was collected of it",
            people::remove_account,
        )
        .by(Role::Admin)
        .unkeyed(),
        Operation::post(
            "/v1/credentials",
            "credential_set",
            "credentials set",
            "Set a secret, which is never answered again",
            people::set_credential,
        )
        .unkeyed(),
        Operation::post(
            "/v1/credentials/{credential}/remove",
            "credential_remove",
            "credentials remove",
            "Remove a credential",
            people::remove_credential,
        )
        .unkeyed(),
        Operation::post(
            "/v1/webhooks",
            "webhook_add",
            "webhooks add",
            "Add a webhook; its secret is answered this once",
            receivers::add,
        )
        .by(Role::Admin)
        .unkeyed(),
        Operation::post(
            "/v1/webhooks/{webhook}/test",
            "webhook_test",
            "webhooks test",
            "Send a signed test message now",
            receivers::test,
        )
        .unkeyed(),
        Operation::post(
            "/v1/webhooks/{webhook}/enable",
            "webhook_enable",
            "webhooks enable",
            "Switch a webhook on; what happened meanwhile is delivered",
            receivers::enable,
        )
        .unkeyed(),
        Operation::post(
            "/v1/webhooks/{webhook}/disable",
            "webhook_disable",
            "webhooks disable",
            "Switch a webhook off; its deliveries wait",
            receivers::disable,
        )
        .unkeyed(),
        Operation::post(
            "/v1/webhooks/{webhook}/remove",
            "webhook_remove",
            "webhooks remove",
            "Remove a webhook and its deliveries",
            receivers::remove,
        )
        .by(Role::Admin)
        .unkeyed(),
        Operation::post(
            "/v1/webhooks/{webhook}/resend",
            "webhook_resend",
            "webhooks resend",
            "Begin deliveries again with all their attempts",
            receivers::resend,
        )
        .unkeyed(),
        Operation::post(
            "/v1/digests",
            "digest_add",
            "alerts digests add",
            "Add a digest of a tenant's numbers, sent every day or on one day of the week",
            digests::add,
        )
        .by(Role::Admin)
        .of_installation()
        .unkeyed(),
        Operation::post(
            "/v1/digests/{name}/send",
            "digest_send",
            "alerts digests send",
            "Send a digest now, out of turn; the host that tells people does it",
            digests::send,
        )
        .of_installation()
        .unkeyed(),
        Operation::post(
            "/v1/digests/{name}/remove",
            "digest_remove",
            "alerts digests remove",
            "Remove a digest, and what is not sent of it",
            digests::remove,
        )
        .by(Role::Admin)
        .of_installation()
        .unkeyed(),
        Operation::post(
            "/v1/schedules",
            "schedule_add",
            "schedules add",
            "Add a schedule, which fires from now on",
            installation::add_schedule,
        )
        .of_installation()
        .unkeyed(),
        Operation::post(
            "/v1/schedules/{schedule}/enable",
            "schedule_enable",
            "schedules enable",
            "Switch a schedule of the database on",
            installation::enable_schedule,
        )
        .of_installation()
        .unkeyed(),
        Operation::post(
            "/v1/schedules/{schedule}/disable",
            "schedule_disable",
            "schedules disable",
            "Switch a schedule of the database off",
            installation::disable_schedule,
        )
        .of_installation()
        .unkeyed(),
        Operation::post(
            "/v1/schedules/{schedule}/remove",
            "schedule_remove",
            "schedules remove",
            "Remove a schedule of the database",
            installation::remove_schedule,
        )
        .of_installation()
        .unkeyed(),
        Operation::post(
            "/v1/releases/{digest}/activate",
            "release_activate",
            "plugins activate",
            "Make a granted release the one that collects, once every host has loaded it",
            connectors::activate,
        )
        .by(Role::Admin)
        .of_installation()
        .unkeyed(),
        Operation::post(
            "/v1/releases/{digest}/roll_back",
            "release_roll_back",
            "plugins rollback",
            "Take an active release back: the one before collects, and what failed is collected again",
            connectors::roll_back,
        )
        .of_installation()
        .unkeyed(),
        Operation::post(
            "/v1/releases/{digest}/canary",
            "canary_start",
            "plugins canary start",
            "Let a granted release collect a share of the accounts",
            connectors::start_canary,
        )
        .by(Role::Admin)
        .of_installation()
        .unkeyed(),
        Operation::post(
            "/v1/releases/{digest}/canary/stop",
            "canary_stop",
            "plugins canary stop",
            "End a canary: the active release collects its accounts",
            connectors::stop_canary,
        )
        .of_installation()
        .unkeyed(),
        Operation::post(
            "/v1/releases/{digest}/grant",
            "release_grant",
            "plugins grant",
            "Grant a release all that it asks for",
            connectors::grant,
        )
        .by(Role::Admin)
        .of_installation()
        .unkeyed(),
        Operation::post(
            "/v1/connectors/{connector}/revoke",
            "connector_revoke",
            "plugins revoke",
            "Revoke what a connector was granted, or one host or slot of it",
            connectors::revoke,
        )
        .by(Role::Admin)
        .of_installation()
        .unkeyed(),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::http::Method;

    use super::*;

    #[test]
    fn paths_and_names_are_told_apart() {
        let operations = all();
        let ids: BTreeSet<&str> = operations.iter().map(|operation| operation.id).collect();
        assert_eq!(ids.len(), operations.len());
        let places: BTreeSet<(&str, &str)> =
            operations.iter().map(|operation| (operation.path, operation.method.as_str())).collect();
        assert_eq!(places.len(), operations.len());
        assert!(operations.iter().all(|operation| operation.path.starts_with("/v1/")));
    }

    #[test]
    fn what_changes_something_has_an_action_and_what_reads_has_none() {
        for operation in all() {
            assert_eq!(operation.action.is_some(), operation.method == Method::POST, "{}", operation.id);
            assert!(!operation.is_heavy || operation.method == Method::GET, "{}", operation.id);
        }
    }

    #[test]
    fn a_key_is_taken_by_what_keeps_its_answer_in_the_transaction_of_the_act() {
        let keyed: Vec<&str> = all().iter().filter(|operation| operation.is_keyed).map(|one| one.id).collect();
        let acts =
            ["run_start", "run_cancel", "batches_retry", "bulk_start", "quarantine_release", "quarantine_discard"];
        assert_eq!(keyed, acts);
    }

    #[test]
    fn what_reads_a_whole_installation_or_tenant_is_heavy() {
        let heavy: Vec<&str> = all().iter().filter(|operation| operation.is_heavy).map(|one| one.id).collect();
        let expected = ["tenant_health", "attention", "bulk_count", "digest_preview", "archive_plan", "plan", "health"];
        assert_eq!(heavy, expected);
    }

    #[test]
    fn a_list_that_can_be_cut_off_can_be_continued() {
        for operation in all() {
            let names: Vec<&str> = (operation.parameters)().iter().map(|parameter| parameter.name).collect();
            assert_eq!(names.contains(&"limit"), names.contains(&"cursor"), "{}", operation.id);
        }
    }
}
