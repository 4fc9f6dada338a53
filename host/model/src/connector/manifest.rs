//! `connector.toml`: what a connector is, and everything that it may ever ask for.
//!
//! The manifest is embedded in the component as the custom section [`SECTION`]. It is read without running the
//! component.

mod bypass;
mod faults;
pub(crate) mod findings;
mod reference;
mod values;

use chrono::{NaiveDate, NaiveTime};
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

pub use self::bypass::{Bypass, Bypassable};
pub use self::faults::Fault;
pub use self::reference::{EXAMPLE, reference};
use crate::account_rule::{AccountReader, AccountRule};
pub use crate::connector::manifest_error::ManifestError;
use crate::ids::Platform;
use crate::metric::{Kind, MetricName};
use crate::origin::OriginPattern;
use crate::text::printable;
use crate::zone::Zone;

/// Name of the component's custom section that holds the manifest as TOML text.
pub const SECTION: &str = "backline:manifest";

/// Largest manifest that is read, in bytes. The largest first-party one has less than 8 KiB.
pub const MANIFEST_BYTES_MAX: usize = 256 * 1024;

/// JSON Schema (draft 7) of a manifest, for editors. It says what a schema can say; [`Manifest::faults`] decides.
pub const SCHEMA: &str = include_str!("manifest/connector.schema.json");

/// Most accounts of a batch. Limits how many accounts one trap affects before the batch is bisected.
pub const BATCH_SIZE_MAX: u32 = 500;

/// The whole manifest of a connector.
///
/// ```
/// let manifest = backline_model::Manifest::parse(
///     r#"
///     [connector]
///     name = "example"
///     platform = "example"
///     version = "1.0.0"
///     api = "^1.0"
///     title = "Example"
///     batch_size = 50
///
///     [[host]]
///     origin = "https://api.example.com"
///     methods = ["GET"]
///     reason = "followers of public profiles"
///
///     [[metric]]
///     name = "followers"
///     kind = "gauge"
///     unit = "followers"
///     "#,
/// )?;
/// assert_eq!(manifest.connector.batch_size, 50);
/// assert_eq!(manifest.metric("followers").map(|entry| entry.unit.as_str()), Some("followers"));
/// # Ok::<(), backline_model::manifest::ManifestError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name, platform and version of the connector.
    pub connector: ConnectorInfo,
    /// Hosts that it may send requests to.
    #[serde(rename = "host", default)]
    pub hosts: Vec<HostRequest>,
    /// Secrets that it uses, and where the host injects them.
    #[serde(rename = "credential", default)]
    pub credentials: Vec<CredentialSlot>,
    /// Limits of the platform that must not be exceeded.
    #[serde(rename = "budget", default)]
    pub budgets: Vec<Budget>,
    /// Requests that it makes, for the plan.
    #[serde(rename = "request", default)]
    pub requests: Vec<RequestEstimate>,
    /// Every metric that it may report.
    #[serde(rename = "metric", default)]
    pub metrics: Vec<MetricEntry>,
    /// Dates on which the platform changed what a metric means.
    #[serde(rename = "break", default)]
    pub breaks: Vec<DefinitionBreak>,
    /// What the ids of accounts look like, and which columns of a list feed them; any id if it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountRule>,
    /// JSON Schema of an account's settings.
    #[serde(default = "any_object")]
    pub settings: Json,
    /// What the platform's terms allow.
    #[serde(default)]
    pub policy: Policy,
    /// Checks of `backline plugins conformance` that it does not pass for the time being.
    #[serde(rename = "bypass", default, skip_serializing_if = "Vec::is_empty")]
    pub bypasses: Vec<Bypass>,
}

fn any_object() -> Json {
    serde_json::json!({ "type": "object" })
}

/// Name, platform and version of a connector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectorInfo {
    /// Name of the connector, such as `youtube`.
    pub name: String,
    /// Platform that it collects.
    pub platform: Platform,
    /// Version of the connector.
    pub version: Version,
    /// Versions of `backline:connector` that it supports.
    pub api: VersionReq,
    /// Title shown to people.
    pub title: String,
    /// Description shown to people.
    #[serde(default)]
    pub description: String,
    /// Most accounts in one call to `fetch`.
    pub batch_size: u32,
    /// Whether its failures are left out of the total health.
    #[serde(default)]
    pub optional: bool,
}

/// A method of an HTTP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// `GET`, which reads.
    Get,
    /// `HEAD`, which reads the headers.
    Head,
    /// `POST`, which sends.
    Post,
    /// `PUT`, which replaces.
    Put,
    /// `PATCH`, which changes.
    Patch,
    /// `DELETE`, which removes.
    Delete,
}

impl Method {
    /// The method as it is written in a request line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// One origin that the connector wants to send requests to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostRequest {
    /// Origin, or a pattern of origins.
    pub origin: OriginPattern,
    /// HTTP methods that it wants to use.
    pub methods: Vec<Method>,
    /// Why it needs them, for the operator who decides.
    pub reason: String,
}

/// How a secret is obtained and renewed. The host does this, never the connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialKind {
    /// A key that is sent as it is.
    ApiKey,
    /// A token that is sent as it is.
    Bearer,
    /// OAuth 2 client credentials (RFC 6749, 4.4): one token for all accounts.
    Oauth2ClientCredentials,
    /// OAuth 2 refresh token (RFC 6749, 6), which may rotate.
    Oauth2RefreshToken,
    /// Instagram's long-lived token, which is refreshed with itself.
    InstagramLongLived,
    /// Apple's developer token: a JWT that the host signs with ES256.
    AppleDeveloperToken,
}

/// Who a secret belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// To the operator: one for all accounts.
    Operator,
    /// To an account: one for each.
    Account,
}

/// Which part of a request the secret is put into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Inject {
    /// A query parameter with this name.
    Query(String),
    /// The header `Authorization: Bearer …`.
    Bearer,
    /// A header with this name.
    Header(String),
}

/// One secret that the connector uses and never sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialSlot {
    /// Name of the slot.
    pub slot: String,
    /// How the secret is obtained.
    pub kind: CredentialKind,
    /// Who the secret belongs to.
    pub owner: Owner,
    /// Where it is injected: `"bearer"`, `{ query = "key" }` or `{ header = "x-api-key" }`.
    pub inject: Inject,
    /// The only origins that it is sent to.
    pub hosts: Vec<OriginPattern>,
    /// Token endpoint, for the kinds that have one. Only the host sends requests to it, never the connector.
    #[serde(default)]
    pub token_url: Option<url::Url>,
    /// Name of the client id in requests to the token endpoint: TikTok calls it `client_key`.
    #[serde(default = "client_id")]
    pub client_id_param: String,
    /// Description shown to people.
    #[serde(default)]
    pub description: String,
}

fn client_id() -> String {
    "client_id".to_owned()
}

/// When a budget resets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum BudgetWindow {
    /// After this number of seconds.
    Seconds(u32),
    /// Never: the limit holds in any span of this number of seconds, so requests are spaced.
    Rolling(u32),
    /// Daily at a local time.
    Daily {
        /// Local time of the reset.
        at: NaiveTime,
        /// Time zone of the platform.
        timezone: Zone,
    },
}

/// Units per window, counted for each credential of a slot or for the platform, and shared by all hosts of one
/// database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Name of the budget, unique in the manifest.
    pub name: String,
    /// Credential slot that the budget belongs to; without one, all requests for the platform count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// Units per window.
    pub limit: u64,
    /// `{ seconds = 60 }`, `{ rolling = 5 }` or `{ daily = { at = "00:00:00", timezone = "America/Los_Angeles" } }`.
    pub window: BudgetWindow,
    /// Units that may be sent at once in a rolling window; 1 if it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    /// Units of a request that matches no entry of `costs`.
    #[serde(default = "one")]
    pub default_cost: u64,
    /// Units by path prefix. The longest matching prefix decides; 0 means that the request does not count here.
    #[serde(default)]
    pub costs: Vec<PathCost>,
}

fn one() -> u64 {
    1
}

/// Cost of requests below a path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathCost {
    /// Prefix of the URL's path.
    pub path: String,
    /// Units of one request.
    pub units: u64,
}

/// What the number of requests is proportional to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// To the number of batches.
    Batch,
    /// To the number of accounts.
    Account,
}

/// Accounts that the number of requests depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Of {
    /// Every account.
    #[default]
    All,
    /// Accounts that were never collected: the connector has no state of them yet.
    New,
    /// Accounts that were collected before.
    Known,
}

/// Number of requests that the connector makes, for the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestEstimate {
    /// Name of the request.
    pub name: String,
    /// Path, which decides its cost.
    pub path: String,
    /// Whether the number is for each batch or for each account.
    pub per: Per,
    /// Accounts that cause the requests. Requests per batch are scaled by the share of these accounts in the batch,
    /// rounded up.
    #[serde(default)]
    pub of: Of,
    /// Number of requests on a usual day, which the plan counts with.
    #[serde(default = "one")]
    pub count: u64,
    /// Most requests, where the number depends on what an account has: pages of a long list, posts of a busy week.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<u64>,
}

impl RequestEstimate {
    /// The most requests of this kind for so many batches with so many of the accounts that cause them.
    #[must_use]
    pub fn most_for(&self, batches: u64, accounts: u64) -> u64 {
        let each = self.most.unwrap_or(self.count);
        each.saturating_mul(match self.per {
            Per::Batch => batches,
            Per::Account => accounts,
        })
    }
}

/// One metric of the catalogue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricEntry {
    /// Name of the metric.
    pub name: MetricName,
    /// Kind of number, which decides about rules and growth.
    pub kind: Kind,
    /// Its unit, such as `followers` or `percent`.
    pub unit: String,
    /// Days that a flow covers.
    #[serde(default)]
    pub window_days: Option<u16>,
    /// Significant figures that the platform rounds to: 3 for YouTube's subscribers.
    #[serde(default)]
    pub significant_figures: Option<u8>,
    /// Whether the platform tells the metric of past dates, and the connector asks for that of the window's last date.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub history: bool,
    /// Description shown to people.
    #[serde(default)]
    pub description: String,
}

/// A date on which the platform changed what a metric means. No growth is computed across it, and it raises no alarm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefinitionBreak {
    /// Metric that changed.
    pub metric: MetricName,
    /// First date with the new meaning.
    pub date: NaiveDate,
    /// What changed, with the source.
    pub note: String,
}

/// What the platform's terms allow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Most days that documents may be kept; `None` means the host's default.
    pub documents_days: Option<u32>,
    /// Most days that metrics may be kept without a refresh; `None` means the host's default.
    pub metrics_days: Option<u32>,
    /// Whether these limits apply only to accounts without their own credential: the owners of the others have
    /// authorised longer storage.
    pub unless_authorised: bool,
    /// Most days that documents and metrics of accounts with their own credential may be kept without a refresh; `None`
    /// means as long as the host's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorised_days: Option<u32>,
    /// Whether the platform forbids AI use of its data.
    pub forbids_ai: bool,
    /// Source of these terms.
    pub note: String,
}

impl Manifest {
    /// Parses and checks a manifest.
    ///
    /// # Errors
    /// [`ManifestError`] names the field and what is expected.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        if text.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::Syntax(format!("it has {} bytes, more than {MANIFEST_BYTES_MAX}", text.len())));
        }
        let manifest: Self =
            toml::from_str(text).map_err(|error| ManifestError::Syntax(printable(&error.to_string())))?;
        match manifest.findings().into_first() {
            Some(error) => Err(error),
            None => Ok(manifest),
        }
    }

    /// The catalogue's entry for a metric.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<&MetricEntry> {
        self.metrics.iter().find(|entry| entry.name.as_str() == name)
    }

    /// Whether any metric can be fetched for past dates.
    #[must_use]
    pub fn has_history(&self) -> bool {
        self.metrics.iter().any(|entry| entry.history)
    }

    /// The credential slot with this name.
    #[must_use]
    pub fn slot(&self, name: &str) -> Option<&CredentialSlot> {
        self.credentials.iter().find(|slot| slot.slot == name)
    }

    /// Refuses wildcards over public suffixes, in a manifest that enters: one that is packed, installed or granted.
    ///
    /// # Errors
    /// [`ManifestError`] names the host.
    pub fn check_owners(&self) -> Result<(), ManifestError> {
        let of_slots = self.credentials.iter().flat_map(|slot| &slot.hosts);
        for origin in self.hosts.iter().map(|host| &host.origin).chain(of_slots) {
            origin.check_owner().map_err(|error| ManifestError::Value {
                field: format!("host {origin}"),
                problem: error.to_string(),
            })?;
        }
        Ok(())
    }

    /// Reads ids of the platform's accounts. A connector without a rule takes any id without white space.
    ///
    /// # Errors
    /// [`ManifestError`] if the rule is not valid.
    pub fn account_reader(&self) -> Result<AccountReader, ManifestError> {
        AccountReader::new(&self.connector.platform, self.account.as_ref())
    }
}

impl Budget {
    /// Cost of a request to this path, in the budget's units.
    ///
    /// A server may treat a path that is spelled in another way as the same one. If that spelling has another cost, the
    /// higher one is charged, so that no spelling is cheaper than the plain one.
    #[must_use]
    pub fn cost_of(&self, path: &str) -> u64 {
        let plain = plain_path(path);
        let as_written = self.longest_prefix(|prefix| path.starts_with(prefix));
        let as_meant = self.longest_prefix(|prefix| plain.starts_with(&plain_path(prefix)));
        as_written.max(as_meant)
    }

    /// Whether no request costs less than under the other terms.
    #[must_use]
    pub fn never_cheaper_than(&self, other: &Self) -> bool {
        // The longest matching prefix decides what a path costs, both as written and as normalised, so comparing the
        // prefixes compares all paths.
        let as_written = |budget: &Self, path: &str| budget.longest_prefix(|prefix| path.starts_with(prefix));
        let as_meant =
            |budget: &Self, path: &str| budget.longest_prefix(|prefix| path.starts_with(&plain_path(prefix)));
        self.default_cost >= other.default_cost
            && self.costs.iter().chain(&other.costs).all(|cost| {
                let plain = plain_path(&cost.path);
                as_written(self, &cost.path) >= as_written(other, &cost.path)
                    && as_meant(self, &plain) >= as_meant(other, &plain)
            })
    }

    fn longest_prefix(&self, fits: impl Fn(&str) -> bool) -> u64 {
        self.costs
            .iter()
            .filter(|cost| fits(&cost.path))
            .max_by_key(|cost| cost.path.len())
            .map_or(self.default_cost, |cost| cost.units)
    }
}

/// How often a path may be percent-encoded and still be recognised.
const ENCODED_TIMES_MAX: usize = 4;

/// The path as a lenient server may read it: decoded, without parameters, empty and dot segments, in lower case.
fn plain_path(path: &str) -> String {
    let mut decoded = path.to_owned();
    for _ in 0..ENCODED_TIMES_MAX {
        let once = percent_decoded(&decoded);
        if once == decoded {
            break;
        }
        decoded = once;
    }
    let decoded = decoded.replace('\\', "/").to_lowercase();
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split('/').map(|segment| segment.split(';').next().unwrap_or_default()) {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            named => segments.push(named),
        }
    }
    let end = if decoded.ends_with('/') && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}", segments.join("/"))
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let value = match bytes[at] {
            b'%' => digit(at + 1).zip(digit(at + 2)).and_then(|(high, low)| u8::try_from(high * 16 + low).ok()),
            _ => None,
        };
        decoded.push(value.unwrap_or(bytes[at]));
        at += if value.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::manifest_with;

    const TABLES: &str = r#"
        [[host]]
        origin = "https://api.test"
        methods = ["GET"]
        reason = "numbers"

        [[credential]]
        slot = "app"
        kind = "api-key"
        owner = "operator"
        inject = { header = "x-api-key" }
        hosts = ["https://api.test"]

        [[budget]]
        name = "day"
        slot = "app"
        limit = 100
        window = { seconds = 60 }
        costs = [{ path = "/v1/search", units = 100 }, { path = "/v1/free", units = 0 }]
    "#;

    fn with(from: &str, to: &str) -> Result<Manifest, ManifestError> {
        let text = manifest_with(TABLES);
        assert!(text.contains(from), "{from}");
        Manifest::parse(&text.replace(from, to))
    }

    fn problem_with(from: &str, to: &str) -> String {
        with(from, to).expect_err(to).to_string()
    }

    #[test]
    fn no_spelling_of_a_path_is_cheaper_than_the_plain_one() {
        let manifest = Manifest::parse(&manifest_with(TABLES)).expect("a valid manifest");
        let cost = |path: &str| manifest.budgets[0].cost_of(path);
        assert_eq!((cost("/v1/search"), cost("/v1/search/x"), cost("/v1/free"), cost("/v1/other")), (100, 100, 0, 1));
        for disguised in [
            "/v1//search",
            "//v1/search",
            "/V1/Search",
            "/v1/se%61rch",
            "/v1/se%2561rch",
            "/v1%2fsearch",
            "/v1/%2e/search",
            "/v1/free/..%2fsearch",
            "/v1/free%5c..%5csearch",
            "/v1/free/%252e%252e/search",
            "/v1;a=b/search;c",
            "/v1/x/../search",
        ] {
            assert_eq!(cost(disguised), 100, "{disguised}");
        }
        // A path is charged its own price even if it can be read as a cheaper one.
        assert_eq!(cost("/v1/search/..%2ffree"), 100);
        assert_eq!((cost("%"), cost("/%zz"), cost("/%ff/..")), (1, 1, 1));
    }

    #[test]
    fn a_cost_above_the_limit_could_never_be_paid() {
        let problem = problem_with("limit = 100", "limit = 99");
        assert!(problem.contains("budget day") && problem.contains("/v1/search costs 100"), "{problem}");
        let problem = problem_with("limit = 100", "limit = 100\ndefault_cost = 101");
        assert!(problem.contains("any other path costs 101"), "{problem}");
    }

    #[test]
    fn a_secret_goes_into_no_header_that_frames_or_routes() {
        for name in ["Host", "content-length", "Transfer-Encoding", "connection", "", "a b", "x\\r\\ny: z", "ü"] {
            let problem = problem_with("x-api-key", name);
            assert!(problem.contains("credential app") || problem.contains("inject"), "{name}: {problem}");
        }
        assert!(with("{ header = \"x-api-key\" }", "{ query = \"\" }").is_err());
        assert!(with("x-api-key", "Authorization").is_ok());
    }

    #[test]
    fn a_host_over_a_public_suffix_is_refused_where_it_enters_and_stays_readable() {
        let text = manifest_with(&TABLES.replace("https://api.test", "https://*.github.io"));
        let refused = Manifest::parse(&text).expect("readable").check_owners().expect_err("refused").to_string();
        assert!(refused.contains("host https://*.github.io"), "{refused}");
        assert!(Manifest::parse(&manifest_with(TABLES)).expect("valid").check_owners().is_ok());
    }

    #[test]
    fn what_the_operator_is_shown_can_not_rewrite_the_screen() {
        for (from, to, field) in [
            ("\"numbers\"", r#""numbers\u001b[2K\u001b[1A""#, "host.reason"),
            ("\"numbers\"", r#""numbers\nhttps://harmless.test: nothing""#, "host.reason"),
            ("\"Example\"", r#""\u202Eelpmaxe""#, "connector.title"),
            ("\"day\"", r#""day\r""#, "budget"),
        ] {
            let problem = problem_with(from, to);
            assert!(problem.contains(field), "{problem}");
            assert!(!problem.contains(['\u{1b}', '\u{202e}']), "{problem}");
        }
        assert!(with("batch_size", "description = \"two\\nlines\"\nbatch_size").is_ok());
        let raw = Manifest::parse("[connector]\nname = \u{1b}[2J").expect_err("refused").to_string();
        assert!(!raw.contains('\u{1b}'), "{raw}");
    }
}
