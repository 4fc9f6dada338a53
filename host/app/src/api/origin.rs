//! Where a request comes from: for the audit log, and for the limit of wrong tokens.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;

use crate::config::Network;

/// The header in which each proxy adds where it got a request from.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address of a caller whose connection comes from `peer`. What a header says is believed as far as trusted proxies
/// wrote it: from its end on, up to the first address that is none of theirs. What stands before it was written by
/// others, who may have made it up.
pub(super) fn of(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut origin = peer.to_canonical();
    let values = headers.get_all(FORWARDED_FOR).into_iter().map(|value| value.to_str().unwrap_or_default());
    let hops: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
    for hop in hops.into_iter().rev() {
        if !is_trusted(origin) {
            break;
        }
        let Some(address) = address_in(hop) else { break };
        origin = address.to_canonical();
    }
    origin
}

/// The address in an entry, which some proxies write with the port.
fn address_in(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']')).unwrap_or(hop);
    bare.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn origin(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(value).expect("a value"));
        }
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().expect("a network"));
        of(peer.parse().expect("an address"), &headers, &trusted).to_string()
    }

    #[test]
    fn proxies_are_believed_and_callers_are_not() {
        for (peer, forwarded, expected) in [
            // A caller that connects directly may write what it likes.
            ("203.0.113.7", &["198.51.100.1"][..], "203.0.113.7"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            // A caller wrote the first one; the proxy added where it got that from.
            ("10.0.0.1", &["127.0.0.1, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["127.0.0.1", "198.51.100.1"], "198.51.100.1"),
            // Two proxies, one behind the other.
            ("10.0.0.1", &["192.0.2.9, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("fd00::1", &["[2001:db8::7]:4711"], "2001:db8::7"),
            ("fd00::1", &["[2001:db8::7]"], "2001:db8::7"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            // What can't be read ends it: behind it anything may stand.
            ("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &[""], "10.0.0.1"),
        ] {
            assert_eq!(origin(peer, forwarded), expected, "{peer} {forwarded:?}");
        }
    }
}
