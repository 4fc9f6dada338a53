//! Configuration of where components may come from, and who must have signed them. Checked when the configuration is
//! read.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::signature::{SIGNATURE_SUFFIX, TrustedKey, check_public_key};
use super::source::{OciReference, Source};
use backline_model::origin::OriginPattern;

/// Where components may come from, and who must have signed them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginsConfig {
    /// What happens to a component without a trusted signature. By default it is refused unless it is a local file; the
    /// signature of a file is verified if there is one beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signatures: Option<SignaturePolicy>,
    /// Origins that components may be downloaded from, such as `https://releases.example.com`; none by default.
    pub sources: Vec<OriginPattern>,
    /// Index that connectors are searched for in, and installed from by name: an `https` URL or a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// Keys whose signatures are trusted, by names that the operator chooses.
    pub trusted_keys: BTreeMap<String, TrustedKey>,
    /// Registries that components may be pulled from, by host and port; none by default.
    pub registries: BTreeMap<String, RegistryConfig>,
}

/// What happens to a component without a trusted signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignaturePolicy {
    /// It is refused, whatever its source.
    Require,
    /// It is used with a warning. If its signature does not match its bytes, it is refused.
    Warn,
    /// Signatures are not checked.
    Off,
}

/// A registry that components may be pulled from.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistryConfig {
    /// Whether plain HTTP is used instead of HTTPS.
    pub insecure_http: bool,
    /// User name of the login; `None` pulls without a login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Password, or an access token instead of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

impl fmt::Debug for RegistryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryConfig")
            .field("insecure_http", &self.insecure_http)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "[secret]"))
            .finish()
    }
}

/// How a component's signature is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureRule {
    /// Without a signature by a trusted key it is refused.
    Required,
    /// A signature is verified if there is one. A missing or untrusted one causes a warning.
    WarnIfMissing,
    /// A signature is verified if there is one, and none is needed.
    IfPresent,
    /// Signatures are not checked.
    Ignored,
}

impl PluginsConfig {
    /// How the signature of a component from this source is checked. A signature that the operator names is always
    /// verified.
    #[must_use]
    pub fn signature_rule(&self, source: &Source, names_signature: bool) -> SignatureRule {
        match self.signatures {
            Some(SignaturePolicy::Require) => SignatureRule::Required,
            None if !source.is_local() || names_signature => SignatureRule::Required,
            None => SignatureRule::IfPresent,
            Some(SignaturePolicy::Warn) => SignatureRule::WarnIfMissing,
            Some(SignaturePolicy::Off) => SignatureRule::Ignored,
        }
    }

    /// Checks the values.
    ///
    /// # Errors
    /// The key with its section, and the problem with its remedy.
    pub fn check(&self) -> Result<(), (String, String)> {
        if let Some(error) = self.sources.iter().find_map(|origin| origin.check_owner().err()) {
            return Err(("plugins.sources".to_owned(), error.to_string()));
        }
        for (name, trusted) in &self.trusted_keys {
            let section = format!("plugins.trusted_keys.{name}");
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) {
                return Err((section, "a key's name consists of letters, digits, - and _".to_owned()));
            }
            check_public_key(&trusted.key).map_err(|problem| (format!("{section}.key"), problem))?;
            let twin = self.trusted_keys.iter().find(|(other, key)| *other < name && key.key == trusted.key);
            if let Some((other, _)) = twin {
                return Err((format!("{section}.key"), format!("'{other}' has the same key; remove one of the two")));
            }
        }
        match self.index.as_ref().map(|index| index.parse::<Source>()) {
            None | Some(Ok(Source::File(_))) => {}
            Some(Ok(Source::Url(url))) if url.query().is_none() => {}
            // A query may grant access, and the configuration is shown.
            Some(Ok(Source::Url(_))) => {
                let problem = "an index's URL has no query, which may hold a secret; host the index without one";
                return Err(("plugins.index".to_owned(), problem.to_owned()));
            }
            Some(Ok(Source::Oci(_))) => {
                let problem = "an index does not lie in a registry; name its https URL or its file";
                return Err(("plugins.index".to_owned(), problem.to_owned()));
            }
            Some(Err(error)) => return Err(("plugins.index".to_owned(), error.to_string())),
        }
        for (host, registry) in &self.registries {
            let section = format!("plugins.registries.{host}");
            let probe = format!("oci://{host}/a:1").parse();
            match probe {
                Ok(Source::Oci(OciReference { registry, .. })) if registry == *host => {}
                _ => {
                    let problem = "a registry is host or host:port in lower case, without a scheme or path; \
                        write it in quotes, as in [plugins.registries.\"registry.example.com:5000\"]";
                    return Err((section, problem.to_owned()));
                }
            }
            match (&registry.username, &registry.password) {
                (Some(_), None) => {
                    return Err((format!("{section}.username"), "password is missing; set both or neither".to_owned()));
                }
                (None, Some(_)) => {
                    return Err((format!("{section}.password"), "username is missing; set both or neither".to_owned()));
                }
                (Some(_), Some(_)) if registry.insecure_http && !is_loopback(host) => {
                    let problem = "the password would be sent unencrypted; remove insecure_http or the password";
                    return Err((format!("{section}.insecure_http"), problem.to_owned()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The same configuration with every secret replaced by `mask`.
    #[must_use]
    pub fn masked(&self, mask: &str) -> Self {
        let mut masked = self.clone();
        for registry in masked.registries.values_mut() {
            registry.password = registry.password.as_ref().map(|_| mask.to_owned());
        }
        masked
    }
}

/// Name of the signature file of a file or URL.
#[must_use]
pub fn beside(name: &str) -> String {
    format!("{name}{SIGNATURE_SUFFIX}")
}

fn is_loopback(registry: &str) -> bool {
    let host = registry.split(':').next().unwrap_or_default();
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::generate_key;

    fn problem(text: &str) -> String {
        let config: PluginsConfig = toml::from_str(text).expect("of the right types");
        let (key, problem) = config.check().expect_err(text);
        format!("{key}: {problem}")
    }

    #[test]
    fn what_cannot_work_is_named_with_its_remedy() {
        let key = generate_key("a").expect("a key").key;
        for (text, expected) in [
            ("[trusted_keys.acme]\nkey = \"RWx\"", "plugins.trusted_keys.acme.key: it is not a minisign public key"),
            (&format!("[trusted_keys.\"a b\"]\nkey = \"{key}\""), "plugins.trusted_keys.a b: a key's name"),
            (
                &format!("[trusted_keys.a]\nkey = \"{key}\"\n[trusted_keys.b]\nkey = \"{key}\""),
                "trusted_keys.b.key: 'a' has the same key",
            ),
            ("sources = [\"https://*.github.io\"]", "plugins.sources: 'https://*.github.io' is not an allowed origin"),
            ("index = \"http://a.example/index.json\"", "plugins.index: a component is downloaded over https only"),
            ("index = \"https://a.example/index.json?key=canary\"", "plugins.index: an index's URL has no query"),
            ("index = \"oci://a.example/index:1\"", "plugins.index: an index does not lie in a registry"),
            ("[registries.\"https://a.example\"]", "plugins.registries.https://a.example: a registry is host"),
            ("[registries.\"a.example/b\"]", "a registry is host"),
            ("[registries.\"A.example\"]", "in lower case"),
            ("[registries.a]\nusername = \"u\"", "plugins.registries.a.username: password is missing"),
            ("[registries.a]\npassword = \"canary\"", "plugins.registries.a.password: username is missing"),
            ("[registries.\"a:80\"]\nusername = \"u\"\npassword = \"canary\"\ninsecure_http = true", "unencrypted"),
        ] {
            let problem = problem(text);
            assert!(problem.contains(expected) && !problem.contains("canary"), "{text}: {problem}");
        }
        let fine = format!(
            "signatures = \"warn\"\nsources = [\"https://a.example\"]\nindex = \"https://a.example/index.json\"\n\
             [trusted_keys.a]\nkey = \"{key}\"\nconnectors = [\"youtube\"]\n\
             [registries.\"127.0.0.1:5000\"]\ninsecure_http = true\nusername = \"u\"\npassword = \"p\"\n\
             [registries.\"ghcr.io\"]"
        );
        let config: PluginsConfig = toml::from_str(&fine).expect("of the right types");
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn a_signature_counts_as_the_policy_and_the_source_say() {
        let file: Source = "a.wasm".parse().expect("a path");
        let url: Source = "https://a.example/a.wasm".parse().expect("a URL");
        let oci: Source = "oci://a.example/a:1".parse().expect("a reference");
        let of = |signatures, source: &Source, named| {
            PluginsConfig { signatures, ..PluginsConfig::default() }.signature_rule(source, named)
        };
        assert_eq!(of(None, &file, false), SignatureRule::IfPresent);
        assert_eq!(of(None, &file, true), SignatureRule::Required);
        assert_eq!(of(None, &url, false), SignatureRule::Required);
        assert_eq!(of(None, &oci, false), SignatureRule::Required);
        for source in [&file, &url, &oci] {
            assert_eq!(of(Some(SignaturePolicy::Require), source, false), SignatureRule::Required);
            assert_eq!(of(Some(SignaturePolicy::Warn), source, false), SignatureRule::WarnIfMissing);
            assert_eq!(of(Some(SignaturePolicy::Off), source, false), SignatureRule::Ignored);
        }
    }
}
