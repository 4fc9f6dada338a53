//! Addresses as text: whatever form one is written in, it is as public as the address itself.
#![no_main]

use std::net::IpAddr;

use backline_gateway::is_public;
use libfuzzer_sys::fuzz_target;
use url::{Host, Url};

fuzz_target!(|text: &str| {
    let Ok(url) = Url::parse(&format!("https://{text}/")) else { return };
    let address = match url.host() {
        Some(Host::Ipv4(v4)) => IpAddr::from(v4),
        Some(Host::Ipv6(v6)) => IpAddr::from(v6),
        _ => return,
    };
    if let IpAddr::V6(v6) = address
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        assert_eq!(is_public(address), is_public(v4.into()), "{address}");
    }
    let is_special = match address {
        IpAddr::V4(v4) => {
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_documentation()
                || v4.is_unspecified()
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_multicast() || v6.is_unspecified() || v6.is_unique_local(),
    };
    assert!(!(is_special && is_public(address)), "{address}");
});
