//! The life of a release: obtain, install, activate, watch, roll back.

pub(super) mod activate;
pub(super) mod auto_rollback;
pub(super) mod cache;
pub(super) mod canary;
pub(super) mod development;
pub(super) mod index;
pub(super) mod install;
pub(super) mod loading;
pub(super) mod manager;
pub(super) mod obtain;
pub(super) mod publish;
