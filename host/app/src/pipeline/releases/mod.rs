//! The life of a release: obtain, install, activate, judge, roll back.

pub mod activate;
pub mod auto_rollback;
pub mod cache;
pub mod canary;
pub mod development;
pub mod install;
pub mod loading;
pub mod obtain;
