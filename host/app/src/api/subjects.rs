//! What a request that changes something is about, by its path. What a path does not name, the handlers name.

use crate::pipeline::Subject;

/// The thing that a variable part of a path names; none where it names none that acts are about.
pub(super) fn of_path(name: &str, text: &str) -> Option<Subject> {
    match name {
        "artist" => text.parse().ok().map(Subject::Artist),
        "account" => text.parse().ok().map(Subject::Account),
        "run" => text.parse().ok().map(Subject::Run),
        "act" => text.parse().ok().map(Subject::Bulk),
        "value" => text.parse().ok().map(Subject::Quarantined),
        "credential" => text.parse().ok().map(Subject::Credential),
        "token" => text.parse().ok().map(Subject::Token),
        "webhook" => Some(Subject::Webhook(text.to_owned())),
        "schedule" => Some(Subject::Schedule(text.to_owned())),
        "digest" => text.parse().ok().map(Subject::Release),
        "name" => Some(Subject::AlertDigest(text.to_owned())),
        "connector" => Some(Subject::Connector(text.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::operations;

    /// Operations whose handlers name what they are about.
    const BY_HANDLER: [&str; 7] =
        ["run_start", "batches_retry", "bulk_start", "credential_set", "webhook_add", "schedule_add", "digest_add"];

    #[test]
    fn what_an_act_is_about_is_named() {
        for operation in operations::all().iter().filter(|operation| operation.action.is_some()) {
            let variables = operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
            let example = |name: &str| match name {
                "digest" => "0".repeat(64),
                "webhook" | "schedule" | "connector" | "name" => "a".to_owned(),
                _ => uuid::Uuid::nil().to_string(),
            };
            let named = variables.into_iter().filter_map(|name| of_path(name, &example(name))).count();
            let by_handler = BY_HANDLER.contains(&operation.id);
            assert_eq!(named, usize::from(!by_handler), "{}", operation.id);
        }
    }
}
