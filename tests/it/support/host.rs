//! Shorter ways for tests to ask a host for what the command line does, by the same methods.

use std::collections::BTreeMap;

use backline::pipeline::collection::report::{Progress, RunReport, RunRequest};
use backline::pipeline::{Approve, Host, InstallError, InstallOptions, RefreshReport, RunError};
use backline_model::Release;
use backline_store::StoreError;
use tokio_util::sync::CancellationToken;

/// A host as tests use it.
pub trait HostExt {
    /// Installs a component with a grant of all it asks for, and activates it, whatever its version is.
    async fn install(&self, component: &[u8]) -> Result<Release, InstallError>;

    /// The same, with limits of budgets in place of the manifest's.
    async fn install_with(&self, component: &[u8], budgets: &BTreeMap<String, u64>) -> Result<Release, InstallError>;

    /// Plans and collects without being stopped.
    async fn run(
        &self,
        request: &RunRequest,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<RunReport, RunError>;

    /// One whole round of the loop that keeps credentials fresh.
    async fn refresh_credentials(&self) -> Result<RefreshReport, StoreError>;
}

impl HostExt for Host {
    async fn install(&self, component: &[u8]) -> Result<Release, InstallError> {
        self.install_with(component, &BTreeMap::new()).await
    }

    async fn install_with(&self, component: &[u8], budgets: &BTreeMap<String, u64>) -> Result<Release, InstallError> {
        let options = InstallOptions {
            approve: Approve::All,
            allow_downgrade: true,
            budgets: budgets.clone(),
            ..InstallOptions::default()
        };
        Ok(self.releases().install(component, &options).await?.release)
    }

    async fn run(
        &self,
        request: &RunRequest,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<RunReport, RunError> {
        self.runs().run(request, progress, &CancellationToken::new()).await
    }

    async fn refresh_credentials(&self) -> Result<RefreshReport, StoreError> {
        self.credentials().refresh_round(&CancellationToken::new(), &|| {}).await
    }
}
