//! What each operation does. They read what the command line reads, by the same methods.

pub(super) mod acts;
pub(super) mod artists;
pub(super) mod bulk;
pub(super) mod connectors;
pub(super) mod digests;
pub(super) mod freshness;
pub(super) mod installation;
pub(super) mod numbers;
pub(super) mod people;
pub(super) mod receivers;
pub(super) mod webhooks;
pub(super) mod work;

use super::problem::Problem;
use crate::pipeline::{Host, names};
use backline_model::Platform;

/// A platform that is given, if it is known: another one is a slip, and no reason to answer with nothing.
async fn known(host: &Host, platform: Option<Platform>) -> Result<Option<Platform>, Problem> {
    match platform {
        Some(given) => names::platform(host.store(), given.as_str()).await.map(Some).map_err(Problem::from),
        None => Ok(None),
    }
}
