//! What all metrics are made of: label sets, registration, and the conversion of numbers.

use prometheus_client::registry::Registry;

use super::labels::Value;

pub(super) type One = [(&'static str, Value); 1];
pub(super) type Two = [(&'static str, Value); 2];

/// Creates a metric and registers it.
pub(super) fn added<M>(registry: &mut Registry, name: &str, help: &str) -> M
where
    M: Default + Clone + prometheus_client::registry::Metric,
{
    let figure = M::default();
    registry.register(name, help, figure.clone());
    figure
}

/// A number as a gauge takes it.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
