//! The registries that [`is_public`] follows, as blocks: a second implementation to compare with, of masks only.
//!
//! Sources: IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890, as of November 2026), IPv6 Address Space,
//! Multicast.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::is_public;

/// Blocks of IPv4 that are not globally reachable, as the registry says.
const NOT_REACHABLE_V4: [&str; 14] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
    "255.255.255.255/32",
];

/// Blocks of IPv4 that we refuse besides: multicast, relays of 6to4 that are no longer used, and Azure's wire server.
/// 192.0.0.9 and 192.0.0.10, which the registry calls reachable, are in a block above: no platform is there.
const REFUSED_V4: [&str; 3] = ["224.0.0.0/4", "192.88.99.0/24", "168.63.129.16/32"];

/// Blocks inside of global unicast (2000::/3) that are not globally reachable, or that we refuse besides: all of the
/// IETF's assignments, and 6to4.
const REFUSED_V6: [&str; 4] = ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"];

/// Further blocks that the registry calls not reachable. They are outside of global unicast.
const NOT_REACHABLE_V6: [&str; 9] = [
    "::1/128",
    "::/128",
    "64:ff9b:1::/48",
    "100::/64",
    "100:0:0:1::/64",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
];

/// First and last address of a block.
fn ends(block: &str) -> (u128, u128) {
    let (address, length) = block.split_once('/').expect("a block");
    let (address, width) = match address.parse::<IpAddr>().expect("an address") {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    let free = width - length.parse::<u32>().expect("a length");
    let below = 1_u128.checked_shl(free).map_or(u128::MAX, |size| size - 1);
    assert_eq!(address & below, 0, "{block} begins where it says");
    (address, address | below)
}

fn is_in(blocks: &[&str], address: u128) -> bool {
    blocks.iter().map(|block| ends(block)).any(|(first, last)| (first..=last).contains(&address))
}

fn expected_v4(address: u32) -> bool {
    let address = u128::from(address);
    !is_in(&NOT_REACHABLE_V4, address) && !is_in(&REFUSED_V4, address)
}

fn expected_v6(address: u128) -> bool {
    // An address of IPv4 stands in the last 32 bits of these.
    if is_in(&["::ffff:0:0/96", "64:ff9b::/96"], address) {
        return expected_v4(u32::try_from(address & u128::from(u32::MAX)).expect("32 bits"));
    }
    is_in(&["2000::/3"], address) && !is_in(&REFUSED_V6, address)
}

fn v4(address: u32) -> IpAddr {
    Ipv4Addr::from_bits(address).into()
}

fn v6(address: u128) -> IpAddr {
    Ipv6Addr::from_bits(address).into()
}

#[test]
fn both_implementations_agree_at_the_ends_of_every_block() {
    for block in NOT_REACHABLE_V4.iter().chain(&REFUSED_V4) {
        let (first, last) = ends(block);
        for address in [first.saturating_sub(1), first, first / 2 + last / 2, last, last + 1] {
            let Ok(address) = u32::try_from(address) else { continue };
            assert_eq!(is_public(v4(address)), expected_v4(address), "{block}: {}", v4(address));
        }
        let inside = u32::try_from(last).expect("32 bits");
        assert!(!is_public(v4(inside)), "{block}");
        for prefix in ["::ffff:0:0", "64:ff9b::"] {
            let prefix = prefix.parse::<Ipv6Addr>().expect("an address").to_bits();
            assert!(!is_public(v6(prefix | u128::from(inside))), "{block} in IPv6");
        }
    }
    let others = ["::ffff:0:0/96", "64:ff9b::/96", "2000::/3"];
    for block in REFUSED_V6.iter().chain(&NOT_REACHABLE_V6).chain(&others) {
        let (first, last) = ends(block);
        for address in [first.saturating_sub(1), first, first / 2 + last / 2, last, last.saturating_add(1)] {
            assert_eq!(is_public(v6(address)), expected_v6(address), "{block}: {}", v6(address));
        }
    }
    assert!(NOT_REACHABLE_V6.iter().all(|block| !expected_v6(ends(block).0) && !expected_v6(ends(block).1)));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn both_implementations_agree_on_any_address(
        four in any::<u32>(),
        six in any::<u128>(),
        prefix in prop::sample::select(vec![
            "::", "::ffff:0:0", "64:ff9b::", "64:ff9b:1::", "100::", "2000::", "2001::", "2001:200::", "2001:db8::",
            "2002::", "3fff::", "3fff:1000::", "5f00::", "fc00::", "fe80::", "fec0::", "ff00::",
        ]),
        kept in 0_u32..112,
    ) {
        prop_assert_eq!(is_public(v4(four)), expected_v4(four), "{}", v4(four));
        prop_assert_eq!(is_public(v6(six)), expected_v6(six), "{}", v6(six));
        let near = prefix.parse::<Ipv6Addr>().expect("an address").to_bits() | (six >> 16 >> kept);
        prop_assert_eq!(is_public(v6(near)), expected_v6(near), "{}", v6(near));
    }
}
