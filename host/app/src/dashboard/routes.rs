//! Which pages and acts there are, under which paths, and what a token needs for each.

use super::assets::{self, Asset};
use backline_model::Role;

/// What a token needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) role: Role,
    /// Whether it is about the installation as a whole, so that a token of one tenant does not reach it.
    pub(super) all_tenants: bool,
}

const fn of_tenant(role: Role) -> Needs {
    Needs { role, all_tenants: false }
}

const fn of_installation(role: Role) -> Needs {
    Needs { role, all_tenants: true }
}

/// A page. Ids are read by the page that shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Overview,
    Runs,
    Run(String),
    Artists,
    Artist(String),
    /// An artist's numbers as CSV.
    Numbers(String),
    AccountTimeline(String),
    /// Asks whether to remove an account.
    RemoveAccount(String),
    Attention,
    Connectors,
    Release(String),
    /// By the connector's name.
    ConnectorTimeline(String),
    /// Asks whether to activate a release.
    Activate(String),
    /// Asks whether to roll back a platform.
    RollBack(String),
    Allowances,
    Quality,
    Bulk,
    /// Counts what a bulk act would be done to, and asks.
    NewBulk,
    Webhooks,
    Digests,
    /// A digest as it would be sent now.
    Digest(String),
    Schedules,
    Archive,
    Tokens,
    /// Asks whether to revoke a token.
    Revoke(String),
    Audit,
    Settings,
}

/// What a form does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FormAct {
    StartRun,
    CancelRun(String),
    RetryRun(String),
    Release(String),
    Discard(String),
    StartBulk,
    CancelBulk(String),
    Activate(String),
    RollBack(String),
    TestWebhook,
    ResendParked,
    /// Whether it is on from now on.
    SwitchWebhook(bool),
    AddDigest,
    SendDigest(String),
    RemoveDigest(String),
    /// Whether it is on from now on.
    SwitchSchedule(bool),
    RevokeToken(String),
    RemoveAccount(String),
}

/// What a request is for.
pub(super) enum Target {
    Page(Page),
    FormAct(FormAct),
    /// The form that takes a token.
    LoginForm,
    Login,
    Logout,
    Asset(&'static Asset),
}

/// The pages that every page links to, with their titles.
pub(super) const MENU: [(&str, &str, Page); 15] = [
    ("/", "Overview", Page::Overview),
    ("/runs", "Runs", Page::Runs),
    ("/artists", "Artists", Page::Artists),
    ("/attention", "Needs someone", Page::Attention),
    ("/connectors", "Connectors", Page::Connectors),
    ("/allowances", "Allowances", Page::Allowances),
    ("/quality", "Data quality", Page::Quality),
    ("/bulk", "Bulk acts", Page::Bulk),
    ("/webhooks", "Webhooks", Page::Webhooks),
    ("/digests", "Digests", Page::Digests),
    ("/schedules", "Schedules", Page::Schedules),
    ("/archive", "Archive and privacy", Page::Archive),
    ("/tokens", "Tokens", Page::Tokens),
    ("/audit", "Audit", Page::Audit),
    ("/settings", "Settings", Page::Settings),
];

/// What a request is for; none where the path or the method is not the dashboard's.
pub(super) fn target(is_post: bool, path: &str) -> Option<Target> {
    let inside = path.strip_prefix('/')?;
    let parts: Vec<&str> = if inside.is_empty() { Vec::new() } else { inside.split('/').collect() };
    if is_post {
        return match parts.as_slice() {
            ["login"] => Some(Target::Login),
            ["logout"] => Some(Target::Logout),
            parts => act(parts).map(Target::FormAct),
        };
    }
    match parts.as_slice() {
        ["login"] => Some(Target::LoginForm),
        ["assets", _] => assets::at(path).map(Target::Asset),
        parts => page(parts).map(Target::Page),
    }
}

fn page(parts: &[&str]) -> Option<Page> {
    let id = |id: &&str| (*id).to_owned();
    Some(match parts {
        [] => Page::Overview,
        ["runs"] => Page::Runs,
        ["runs", run] => Page::Run(id(run)),
        ["artists"] => Page::Artists,
        ["artists", artist] => Page::Artist(id(artist)),
        ["artists", artist, "metrics.csv"] => Page::Numbers(id(artist)),
        ["accounts", account, "timeline"] => Page::AccountTimeline(id(account)),
        ["accounts", account, "remove"] => Page::RemoveAccount(id(account)),
        ["attention"] => Page::Attention,
        ["connectors"] => Page::Connectors,
        ["connectors", digest] => Page::Release(id(digest)),
        ["connectors", digest, "activate"] => Page::Activate(id(digest)),
        ["connectors", name, "timeline"] => Page::ConnectorTimeline(id(name)),
        ["platforms", platform, "rollback"] => Page::RollBack(id(platform)),
        ["allowances"] => Page::Allowances,
        ["quality"] => Page::Quality,
        ["bulk"] => Page::Bulk,
        ["bulk", "new"] => Page::NewBulk,
        ["webhooks"] => Page::Webhooks,
        ["digests"] => Page::Digests,
        ["digests", digest] => Page::Digest(id(digest)),
        ["schedules"] => Page::Schedules,
        ["archive"] => Page::Archive,
        ["tokens"] => Page::Tokens,
        ["tokens", token, "revoke"] => Page::Revoke(id(token)),
        ["audit"] => Page::Audit,
        ["settings"] => Page::Settings,
        _ => return None,
    })
}

fn act(parts: &[&str]) -> Option<FormAct> {
    let id = |id: &&str| (*id).to_owned();
    Some(match parts {
        ["runs"] => FormAct::StartRun,
        ["runs", run, "cancel"] => FormAct::CancelRun(id(run)),
        ["runs", run, "retry"] => FormAct::RetryRun(id(run)),
        ["quality", value, "release"] => FormAct::Release(id(value)),
        ["quality", value, "discard"] => FormAct::Discard(id(value)),
        ["bulk"] => FormAct::StartBulk,
        ["bulk", act, "cancel"] => FormAct::CancelBulk(id(act)),
        ["connectors", digest, "activate"] => FormAct::Activate(id(digest)),
        ["platforms", platform, "rollback"] => FormAct::RollBack(id(platform)),
        ["webhooks", "test"] => FormAct::TestWebhook,
        ["webhooks", "resend"] => FormAct::ResendParked,
        ["webhooks", "enable"] => FormAct::SwitchWebhook(true),
        ["webhooks", "disable"] => FormAct::SwitchWebhook(false),
        ["digests"] => FormAct::AddDigest,
        ["digests", digest, "send"] => FormAct::SendDigest(id(digest)),
        ["digests", digest, "remove"] => FormAct::RemoveDigest(id(digest)),
        ["schedules", "enable"] => FormAct::SwitchSchedule(true),
        ["schedules", "disable"] => FormAct::SwitchSchedule(false),
        ["tokens", token, "revoke"] => FormAct::RevokeToken(id(token)),
        ["accounts", account, "remove"] => FormAct::RemoveAccount(id(account)),
        _ => return None,
    })
}

impl Page {
    /// What a token needs to see it: what the API's operation for the same needs.
    pub(super) fn needs(&self) -> Needs {
        match self {
            Self::Overview
            | Self::Runs
            | Self::Run(_)
            | Self::Artists
            | Self::Artist(_)
            | Self::Numbers(_)
            | Self::AccountTimeline(_)
            | Self::Attention
            | Self::Quality
            | Self::Bulk => of_tenant(Role::Viewer),
            Self::Connectors
            | Self::Release(_)
            | Self::ConnectorTimeline(_)
            | Self::Allowances
            | Self::Schedules
            | Self::Archive => of_installation(Role::Viewer),
            Self::Webhooks | Self::NewBulk => of_tenant(Role::Operator),
            Self::RollBack(_) | Self::Digests | Self::Digest(_) => of_installation(Role::Operator),
            Self::Audit | Self::RemoveAccount(_) => of_tenant(Role::Admin),
            Self::Activate(_) | Self::Tokens | Self::Revoke(_) | Self::Settings => of_installation(Role::Admin),
        }
    }
}

impl FormAct {
    /// The operation of the API that does the same. A token that may not call it may not send the form either.
    #[cfg(test)]
    fn operation(&self) -> &'static str {
        match self {
            Self::StartRun => "run_start",
            Self::CancelRun(_) => "run_cancel",
            Self::RetryRun(_) => "batches_retry",
            Self::Release(_) => "quarantine_release",
            Self::Discard(_) => "quarantine_discard",
            Self::StartBulk => "bulk_start",
            Self::CancelBulk(_) => "bulk_cancel",
            Self::Activate(_) => "release_activate",
            Self::RollBack(_) => "release_roll_back",
            Self::TestWebhook => "webhook_test",
            Self::ResendParked => "webhook_resend",
            Self::SwitchWebhook(true) => "webhook_enable",
            Self::SwitchWebhook(false) => "webhook_disable",
            Self::AddDigest => "digest_add",
            Self::SendDigest(_) => "digest_send",
            Self::RemoveDigest(_) => "digest_remove",
            Self::SwitchSchedule(true) => "schedule_enable",
            Self::SwitchSchedule(false) => "schedule_disable",
            Self::RevokeToken(_) => "token_revoke",
            Self::RemoveAccount(_) => "account_remove",
        }
    }

    /// Where its form is sent.
    pub(super) fn path(&self) -> String {
        match self {
            Self::StartRun => "/runs".to_owned(),
            Self::CancelRun(run) => format!("/runs/{run}/cancel"),
            Self::RetryRun(run) => format!("/runs/{run}/retry"),
            Self::Release(value) => format!("/quality/{value}/release"),
            Self::Discard(value) => format!("/quality/{value}/discard"),
            Self::StartBulk => "/bulk".to_owned(),
            Self::CancelBulk(act) => format!("/bulk/{act}/cancel"),
            Self::Activate(digest) => format!("/connectors/{digest}/activate"),
            Self::RollBack(platform) => format!("/platforms/{platform}/rollback"),
            Self::TestWebhook => "/webhooks/test".to_owned(),
            Self::ResendParked => "/webhooks/resend".to_owned(),
            Self::SwitchWebhook(true) => "/webhooks/enable".to_owned(),
            Self::SwitchWebhook(false) => "/webhooks/disable".to_owned(),
            Self::AddDigest => "/digests".to_owned(),
            Self::SendDigest(digest) => format!("/digests/{digest}/send"),
            Self::RemoveDigest(digest) => format!("/digests/{digest}/remove"),
            Self::SwitchSchedule(true) => "/schedules/enable".to_owned(),
            Self::SwitchSchedule(false) => "/schedules/disable".to_owned(),
            Self::RevokeToken(token) => format!("/tokens/{token}/revoke"),
            Self::RemoveAccount(account) => format!("/accounts/{account}/remove"),
        }
    }

    /// The page that has its form, with the page's path, where something is typed or chosen in the form.
    pub(super) fn page(&self) -> Option<(Page, String)> {
        match self {
            Self::StartRun => Some((Page::Runs, self.path())),
            Self::CancelRun(run) => Some((Page::Run(run.clone()), format!("/runs/{run}"))),
            Self::StartBulk => Some((Page::NewBulk, "/bulk/new".to_owned())),
            Self::Activate(digest) => Some((Page::Activate(digest.clone()), self.path())),
            Self::RollBack(platform) => Some((Page::RollBack(platform.clone()), self.path())),
            Self::AddDigest => Some((Page::Digests, self.path())),
            Self::RemoveAccount(account) => Some((Page::RemoveAccount(account.clone()), self.path())),
            Self::RetryRun(_)
            | Self::Release(_)
            | Self::Discard(_)
            | Self::CancelBulk(_)
            | Self::TestWebhook
            | Self::ResendParked
            | Self::SwitchWebhook(_)
            | Self::SendDigest(_)
            | Self::RemoveDigest(_)
            | Self::SwitchSchedule(_)
            | Self::RevokeToken(_) => None,
        }
    }

    /// What a token needs to do it.
    pub(super) fn needs(&self) -> Needs {
        match self {
            Self::RetryRun(_) | Self::Release(_) | Self::Discard(_) | Self::StartBulk | Self::CancelBulk(_) => {
                of_tenant(Role::Operator)
            }
            Self::RemoveAccount(_) => of_tenant(Role::Admin),
            Self::StartRun
            | Self::CancelRun(_)
            | Self::RollBack(_)
            | Self::TestWebhook
            | Self::ResendParked
            | Self::SwitchWebhook(_)
            | Self::SendDigest(_)
            | Self::SwitchSchedule(_) => of_installation(Role::Operator),
            Self::Activate(_) | Self::AddDigest | Self::RemoveDigest(_) | Self::RevokeToken(_) => {
                of_installation(Role::Admin)
            }
        }
    }

    /// What the audit log calls it, as the command line does.
    pub(super) fn action(&self) -> &'static str {
        match self {
            Self::StartRun => "run",
            Self::CancelRun(_) => "run cancel",
            Self::RetryRun(_) => "batches retry",
            Self::Release(_) => "quarantine release",
            Self::Discard(_) => "quarantine discard",
            Self::StartBulk => "bulk start",
            Self::CancelBulk(_) => "bulk cancel",
            Self::Activate(_) => "plugins activate",
            Self::RollBack(_) => "plugins rollback",
            Self::TestWebhook => "webhooks test",
            Self::ResendParked => "webhooks resend",
            Self::SwitchWebhook(true) => "webhooks enable",
            Self::SwitchWebhook(false) => "webhooks disable",
            Self::AddDigest => "alerts digests add",
            Self::SendDigest(_) => "alerts digests send",
            Self::RemoveDigest(_) => "alerts digests remove",
            Self::SwitchSchedule(true) => "schedules enable",
            Self::SwitchSchedule(false) => "schedules disable",
            Self::RevokeToken(_) => "tokens revoke",
            Self::RemoveAccount(_) => "accounts remove",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every kind of act.
    fn acts() -> Vec<FormAct> {
        let id = || "x".to_owned();
        let all = vec![
            FormAct::StartRun,
            FormAct::CancelRun(id()),
            FormAct::RetryRun(id()),
            FormAct::Release(id()),
            FormAct::Discard(id()),
            FormAct::StartBulk,
            FormAct::CancelBulk(id()),
            FormAct::Activate(id()),
            FormAct::RollBack(id()),
            FormAct::TestWebhook,
            FormAct::ResendParked,
            FormAct::SwitchWebhook(true),
            FormAct::SwitchWebhook(false),
            FormAct::AddDigest,
            FormAct::SendDigest(id()),
            FormAct::RemoveDigest(id()),
            FormAct::SwitchSchedule(true),
            FormAct::SwitchSchedule(false),
            FormAct::RevokeToken(id()),
            FormAct::RemoveAccount(id()),
        ];
        // A new kind is named in `operation`, and belongs into this list too.
        let named: BTreeSet<&str> = all.iter().map(FormAct::operation).collect();
        assert_eq!(named.len(), all.len(), "each form is another operation");
        all
    }

    /// All forms but those of the session are made of an act by `frame::form`. So each is one of these.
    #[test]
    fn every_form_is_sent_to_what_does_it() {
        for act in acts() {
            let Some(Target::FormAct(found)) = target(true, &act.path()) else { panic!("{} does nothing", act.path()) };
            assert_eq!(found, act);
            // The page of a form that was refused is the one that a browser could ask for by itself.
            if let Some((page, path)) = act.page() {
                let Some(Target::Page(found)) = target(false, &path) else { panic!("{path} is no page") };
                assert_eq!(found, page);
            }
        }
    }

    #[test]
    fn every_form_does_what_an_operation_of_the_api_does_and_takes_no_less() {
        let document = crate::api::document();
        let paths = document["paths"].as_object().expect("paths");
        for act in acts() {
            let mut posted = paths.values().map(|methods| &methods["post"]);
            let operation = posted.find(|post| post["operationId"] == act.operation());
            let operation = operation.unwrap_or_else(|| panic!("the API has no operation {}", act.operation()));
            let (needs, says) = (act.needs(), operation["description"].as_str().expect("a description"));
            let role = format!("For the role {} and above.", needs.role.as_str());
            assert!(says.starts_with(&role), "{act:?} is for {:?}, and the operation says: {says}", needs.role);
            let is_of_installation = says.ends_with("Takes a token of all tenants.");
            assert!(needs.all_tenants || !is_of_installation, "{act:?}: {says}");
        }
    }

    #[test]
    fn every_link_of_the_menu_leads_to_its_page() {
        for (path, _, wanted) in MENU {
            let Some(Target::Page(found)) = target(false, path) else { panic!("{path} is no page") };
            assert_eq!(found, wanted);
        }
    }

    #[test]
    fn what_is_not_the_dashboards_is_left_to_others() {
        for path in ["", "/v1/runs", "/healthz", "/readyz", "/metrics", "/openapi.json", "//", "/runs/a/b", "/assets/x"]
        {
            assert!(target(false, path).is_none(), "{path}");
        }
        assert!(target(true, "/").is_none() && target(false, "/logout").is_none());
    }

    #[test]
    fn reading_takes_no_more_than_acting() {
        let id = || "x".to_owned();
        assert!(Page::Activate(id()).needs() == FormAct::Activate(id()).needs());
        assert!(Page::RollBack(id()).needs() == FormAct::RollBack(id()).needs());
        assert!(Page::Revoke(id()).needs() == FormAct::RevokeToken(id()).needs());
        assert!(Page::RemoveAccount(id()).needs() == FormAct::RemoveAccount(id()).needs());
        assert!(Page::NewBulk.needs() == FormAct::StartBulk.needs());
    }
}
