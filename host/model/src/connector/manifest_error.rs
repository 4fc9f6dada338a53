//! Why a manifest can't be used.

/// Why a manifest is not valid.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not TOML, or not in the manifest's form.
    #[error("the manifest can't be read: {0}")]
    Syntax(String),
    /// In the right form, with a value that is not valid.
    #[error("the manifest's {field} is wrong: {problem}")]
    Value {
        /// Path of the field, such as `connector.batch_size`.
        field: String,
        /// What is wrong, and what is expected.
        problem: String,
    },
}
