//! Which headers a connector may not set, and which of an answer it does not get.
//!
//! [docs/security.md](../../../docs/security.md) holds the same lists; a test compares them.

/// Headers that only the host may set: they decide where a request goes, who sends it, or how it is framed.
pub(super) const REFUSED: [&str; 79] = [
    // Where it goes, and how it is framed.
    "accept-encoding",
    "alt-used",
    "authorization",
    "base-url",
    "cdn-loop",
    "connection",
    "content-encoding",
    "content-length",
    "cookie",
    "cookie2",
    "early-data",
    "expect",
    "host",
    "http-url",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "request-uri",
    "set-cookie",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-backend-host",
    "x-host",
    "x-http-destinationurl",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-url",
    "x-real-host",
    "x-rewrite-url",
    "x-scheme",
    "x-url-scheme",
    // Who asks.
    "client-ip",
    "clientip",
    "do-connecting-ip",
    "fly-client-ip",
    "forwarded",
    "forwarded-for",
    "forwarded-for-ip",
    "forwarded-proto",
    "front-end-https",
    "http-client-ip",
    "http-x-forwarded-for",
    "incap-client-ip",
    "remote-addr",
    "remote-host",
    "remote-user",
    "true-client-ip",
    "true-client-port",
    "x-client",
    "x-client-cert",
    "x-client-ip",
    "x-client-verify",
    "x-cluster-client-ip",
    "x-coming-from",
    "x-connecting-ip",
    "x-forwarded",
    "x-forwarder-for",
    "x-host-override",
    "x-ip",
    "x-nf-client-connection-ip",
    "x-original-forwarded-for",
    "x-originating-ip",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-real-port",
    "x-remote-addr",
    "x-remote-ip",
    "x-remote-user",
    // What makes the metadata service of a cloud answer.
    "metadata",
    "metadata-flavor",
    "x-aws-ec2-metadata-token",
    "x-google-metadata-request",
];

/// Prefixes of further headers of that kind.
pub(super) const REFUSED_PREFIXES: [&str; 23] = [
    "akamai-",
    "cf-",
    "cloudfront-",
    "fastly-",
    "proxy-",
    "sec-",
    "ssl-client-",
    "wl-proxy-",
    "x-akamai-",
    "x-amzn-oidc-",
    "x-appengine-",
    "x-arr-",
    "x-aws-ec2-metadata-",
    "x-azure-",
    "x-envoy-",
    "x-forwarded-",
    "x-goog-authenticated-user-",
    "x-goog-iap-",
    "x-middleware-",
    "x-ms-client-principal",
    "x-ssl-",
    "x-sucuri-",
    "x-vercel-",
];

/// Words between hyphens that a header has which says who asks, whatever the vendor: lists of names are never complete.
pub(super) const REFUSED_WORDS: [&str; 9] =
    ["addr", "clientip", "forwarded", "forwarder", "ip", "realip", "remoteip", "srcip", "userip"];

/// Headers that a request with an injected credential may not carry: with them an answer comes in pieces, as a digest
/// or in another alphabet, so that a secret in it would not be found.
pub(super) const REFUSED_WITH_CREDENTIAL: [&str; 8] = [
    "a-im",
    "accept-charset",
    "if-range",
    "range",
    "request-range",
    "want-content-digest",
    "want-digest",
    "want-repr-digest",
];

/// Headers of an answer that a connector does not need or must not see.
pub(super) const WITHHELD: [&str; 5] = ["connection", "keep-alive", "set-cookie", "set-cookie2", "transfer-encoding"];

/// Headers that tell something about the bytes that were blanked out of an answer, so that they go with them.
pub(super) const WITHHELD_WHEN_REDACTED: [&str; 12] = [
    "content-digest",
    "content-length",
    "content-md5",
    "content-range",
    "digest",
    "etag",
    "repr-digest",
    "uncompressed-content-length",
    "x-goog-hash",
    "x-goog-stored-content-length",
    "x-original-content-length",
    "x-uncompressed-content-length",
];

/// The name as servers may read it: some treat `_` and `-` as the same.
fn as_read(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

/// Whether only the host may set this header.
pub(super) fn is_the_hosts(name: &str) -> bool {
    let name = as_read(name);
    REFUSED.contains(&name.as_str())
        || REFUSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || name.split('-').any(|word| REFUSED_WORDS.contains(&word))
}

/// Whether a request with a credential may not carry this header.
pub(super) fn splits_the_answer(name: &str) -> bool {
    REFUSED_WITH_CREDENTIAL.contains(&as_read(name).as_str())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The names in backticks between a heading of the documentation and the next one.
    fn documented(heading: &str) -> BTreeSet<String> {
        let text = include_str!("../../../docs/security.md");
        let (_, section) = text.split_once(&format!("\n### {heading}\n")).expect(heading);
        let section = section.split("\n#").next().expect("a section");
        section.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_documentation_lists_the_same_headers() {
        let prefixes: Vec<String> = REFUSED_PREFIXES.iter().map(|prefix| format!("{prefix}*")).collect();
        for (heading, names) in [
            ("Headers that a connector may not set", REFUSED.to_vec()),
            ("Prefixes of headers that a connector may not set", prefixes.iter().map(String::as_str).collect()),
            ("Words of headers that a connector may not set", REFUSED_WORDS.to_vec()),
            ("Headers refused with a credential", REFUSED_WITH_CREDENTIAL.to_vec()),
            ("Headers withheld from answers", WITHHELD.to_vec()),
            ("Headers withheld from redacted answers", WITHHELD_WHEN_REDACTED.to_vec()),
        ] {
            let known: BTreeSet<String> = names.iter().map(|&name| name.to_owned()).collect();
            assert_eq!(known.len(), names.len(), "a name of {heading} stands twice");
            assert_eq!(documented(heading), known, "{heading}");
        }
    }

    #[test]
    fn what_says_who_asks_is_refused_for_every_vendor() {
        for name in [
            "True-Client-IP",
            "CF-Connecting-IP",
            "cf_connecting_ip",
            "X-Client-IP",
            "X-Cluster-Client-IP",
            "Fastly-Client-IP",
            "Metadata-Flavor",
            "X-aws-ec2-metadata-token-ttl-seconds",
            "X-AppEngine-User-IP",
            "CloudFront-Viewer-Address",
            "Ali-CDN-Real-IP",
            "CDN_SRC_IP",
            "X-Some-New-Vendor-Client-IP",
            "Z-Forwarded-For",
            "X-Remote-Addr-Chain",
            "X-Goog-Authenticated-User-Email",
            "X-MS-CLIENT-PRINCIPAL-ID",
        ] {
            assert!(is_the_hosts(name), "{name}");
        }
        assert!(splits_the_answer("Range") && splits_the_answer("if_range") && !splits_the_answer("if-none-match"));
        for name in ["x-api-version", "accept", "x-amz-access-token", "x-ship-to", "zip-code", "x-address-form"] {
            assert!(!is_the_hosts(name), "{name}");
        }
    }
}
