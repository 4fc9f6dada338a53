//! The bindings of each published version of the contract, and which of them a component is called by.
//!
//! The types of two versions are two types, even where their text is the same, and interfaces are linked under their
//! own names. So each version has its own generated module; what the host sees of them is the model's.

mod conversions;
pub(super) mod v1_0;
pub(super) mod v1_1;

use backline_model::clock::LAST_TIME;
use backline_model::fetch::{DocumentInput, FetchAccount, FetchContext, FetchError, FetchedBatch};
use backline_model::snapshot::Snapshot;
use backline_model::text::printable;
use backline_model::weakened::{Bound, off};
use chrono::{DateTime, Utc};
use wasmtime::Store;
use wasmtime::component::{Accessor, InstancePre};

use super::answer::Breach;
use super::state::CallState;

/// Contract versions that this host links, for the message of a refusal.
pub(super) const KNOWN: &str = "1.0.0 and 1.1.0";

/// Longest text of an error or a name that is kept, in bytes; it is stored in a table and shown on a screen.
const TEXT_BYTES_MAX: usize = 2_000;

/// A published version of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// 1.0.0: answers stand in the order of the accounts.
    OneZero,
    /// 1.1.0: `send-all`, answers that name their accounts, and past dates.
    OneOne,
}

impl Version {
    /// The version that a component exports; none if this host does not link it.
    pub(super) fn of(exported: &str) -> Option<Self> {
        match exported {
            "1.0.0" => Some(Self::OneZero),
            "1.1.0" => Some(Self::OneOne),
            _ => None,
        }
    }

    /// Everything that the version gives to a component. A component that imports another name is refused, also one of
    /// another version: it would get functions whose types its answers are not of.
    pub(super) fn imports(self) -> [&'static str; 3] {
        match self {
            Self::OneZero => {
                ["backline:connector/types@1.0.0", "backline:connector/http@1.0.0", "backline:connector/log@1.0.0"]
            }
            Self::OneOne => {
                ["backline:connector/types@1.1.0", "backline:connector/http@1.1.0", "backline:connector/log@1.1.0"]
            }
        }
    }
}

/// A linked component, ready to be started, by the version that it exports.
pub(super) enum BindingsPre {
    OneZero(v1_0::BindingsPre<CallState>),
    OneOne(v1_1::BindingsPre<CallState>),
}

impl BindingsPre {
    /// The bindings of a version, for a component that exports it. Those of another version would find its functions
    /// too, since names of compatible versions stand for each other, and fail later.
    pub(super) fn new(version: Version, linked: InstancePre<CallState>) -> wasmtime::Result<Self> {
        Ok(match version {
            Version::OneZero => Self::OneZero(v1_0::BindingsPre::new(linked)?),
            Version::OneOne => Self::OneOne(v1_1::BindingsPre::new(linked)?),
        })
    }

    /// The version that it is called by.
    pub(super) fn version(&self) -> Version {
        match self {
            Self::OneZero(_) => Version::OneZero,
            Self::OneOne(_) => Version::OneOne,
        }
    }

    /// Starts an instance.
    pub(super) async fn instantiate(&self, store: &mut Store<CallState>) -> wasmtime::Result<Bindings> {
        Ok(match self {
            Self::OneZero(bindings) => Bindings::OneZero(bindings.instantiate_async(store).await?),
            Self::OneOne(bindings) => Bindings::OneOne(bindings.instantiate_async(store).await?),
        })
    }
}

/// An instance, by the version that it exports.
pub(super) enum Bindings {
    OneZero(v1_0::Bindings),
    OneOne(v1_1::Bindings),
}

impl Bindings {
    /// Calls `check`.
    pub(super) async fn check(
        &self,
        accessor: &Accessor<CallState>,
        account: FetchAccount,
    ) -> wasmtime::Result<Result<String, FetchError>> {
        match self {
            Self::OneZero(instance) => v1_0::check(instance, accessor, account).await,
            Self::OneOne(instance) => v1_1::check(instance, accessor, account).await,
        }
    }

    /// Calls `fetch`. What it returns is the same for every version: results in the order of the accounts.
    pub(super) async fn fetch(
        &self,
        accessor: &Accessor<CallState>,
        accounts: Vec<FetchAccount>,
        context: FetchContext,
    ) -> wasmtime::Result<Result<FetchedBatch, Breach>> {
        match self {
            Self::OneZero(instance) => v1_0::fetch(instance, accessor, accounts, context).await.map(Ok),
            Self::OneOne(instance) => v1_1::fetch(instance, accessor, accounts, context).await,
        }
    }

    /// Calls `normalize`.
    pub(super) async fn normalize(
        &self,
        accessor: &Accessor<CallState>,
        documents: Vec<DocumentInput>,
    ) -> wasmtime::Result<Vec<Result<Snapshot, String>>> {
        match self {
            Self::OneZero(instance) => v1_0::normalize(instance, accessor, documents).await,
            Self::OneOne(instance) => v1_1::normalize(instance, accessor, documents).await,
        }
    }
}

/// Shortens a text, and replaces characters that could disturb a terminal or a database. What a connector wrote is
/// searched for secrets before: of a text that was cut, or in which U+0000 was replaced, a secret would not be found.
pub(super) fn clip(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX && !off(Bound::Texts) {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push('…');
    }
    printable(&text)
}

/// A time from a connector, in seconds since 1970; `None` if it is a mistake, such as milliseconds for seconds.
fn time_of(seconds: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(seconds, 0).filter(|time| (DateTime::UNIX_EPOCH..=LAST_TIME).contains(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connectors_text_is_cut_and_can_steer_neither_terminal_nor_database() {
        assert_eq!(clip("a\u{1b}[2J\u{0}b\u{202e}c\nd".to_owned()), "a\u{fffd}[2J\u{fffd}b\u{fffd}c\nd");
        assert_eq!(clip("ü".repeat(2_000)).chars().count(), 1_001);
    }

    #[test]
    fn every_known_version_gives_its_own_interfaces_alone() {
        for version in KNOWN.split(" and ") {
            let imports = Version::of(version).expect("it is linked").imports();
            assert!(imports.iter().all(|import| import.ends_with(&format!("@{version}"))), "{imports:?}");
        }
        assert_eq!(Version::of("1.0.1"), None);
    }
}
