//! Which addresses requests may connect to: only public ones, unless the operator exempts a host.
//!
//! The check happens where names are resolved, and the connection goes to exactly the addresses that were checked, so
//! that a name can't resolve differently the second time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Url;

use super::config::{GatewayConfig, Route};
use super::owners::Lookups;
use backline_model::origin::{Origin, OriginPattern};
use backline_model::weakened::{Bound, off};

/// A host with an address that is not public.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "{host} is at {address}, which is not a public address; to allow it, add \"{exemption}\" to exempt under \
     [gateway]{remark}"
)]
pub(super) struct AddressError {
    host: String,
    address: IpAddr,
    /// What would allow it. It names the port, and is of `https` for `http` too.
    exemption: String,
    remark: &'static str,
}

impl AddressError {
    pub(super) fn of(host: &str, port: u16, address: IpAddr) -> Self {
        let exemption = if port == 443 { format!("https://{host}") } else { format!("https://{host}:{port}") };
        Self { host: host.to_owned(), address, exemption, remark: "" }
    }

    /// The same for the URL that was asked for: where a name is resolved, only the name is known.
    pub(super) fn of_url(self, url: Option<&Url>) -> Self {
        let Some(url) = url else { return self };
        let remark = if url.scheme() == "http" { ", which allows http there too" } else { "" };
        Self { remark, ..Self::of(&self.host, url.port_or_known_default().unwrap_or(443), self.address) }
    }
}

/// How a request reaches its origin.
#[derive(Clone, Debug)]
pub(super) enum Destination {
    /// By its name, through the resolver that only accepts public addresses.
    Public,
    /// By its name, whatever its address: the operator exempted it.
    Exempt,
    /// By a configured base URL instead.
    Route(Url),
}

/// The operator's exceptions from the address check.
#[derive(Debug)]
pub(super) struct AddressPolicy {
    routes: Vec<Route>,
    exempt: Vec<OriginPattern>,
}

impl AddressPolicy {
    pub(super) fn of(config: &GatewayConfig) -> Self {
        Self { routes: config.routes.clone(), exempt: config.exempt.clone() }
    }

    /// How to reach this origin. A host that is itself an address is checked here, since it is not resolved.
    pub(super) fn destination(&self, origin: &Origin) -> Result<Destination, AddressError> {
        if let Some(route) = self.routes.iter().find(|route| route.origin.matches(origin)) {
            return Ok(Destination::Route(route.connect.clone()));
        }
        if self.exempt.iter().any(|pattern| pattern.matches(origin)) {
            return Ok(Destination::Exempt);
        }
        match origin.host().trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) if !is_public(address) => Err(AddressError::of(origin.host(), origin.port(), address)),
            _ => Ok(Destination::Public),
        }
    }

    /// Refuses an origin whose name currently resolves to an address that is not public. A name that can't be resolved
    /// passes, since its address is not known.
    pub(super) async fn check_name(&self, origin: &Origin) -> Result<(), AddressError> {
        if !matches!(self.destination(origin)?, Destination::Public) {
            return Ok(());
        }
        let host = origin.host();
        let Ok(mut addresses) = tokio::net::lookup_host((host.trim_matches(['[', ']']), 0)).await else {
            return Ok(());
        };
        match addresses.find(|address| !is_public(address.ip())) {
            Some(found) => Err(AddressError::of(host, origin.port(), found.ip())),
            None => Ok(()),
        }
    }

    /// Whether any request can bypass the checking resolver.
    pub(super) fn has_exceptions(&self) -> bool {
        !self.routes.is_empty() || !self.exempt.is_empty()
    }
}

/// Resolves a name once and refuses it if **any** of its addresses is not public.
#[derive(Clone, Debug)]
pub(super) struct PublicOnly {
    /// Shared by the clients of a gateway.
    pub(super) lookups: Arc<Lookups>,
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let (host, lookups) = (name.as_str().to_owned(), Arc::clone(&self.lookups));
        Box::pin(async move {
            let addresses = lookups.look_up(&host).await?;
            match addresses.iter().find(|address| !is_public(address.ip())) {
                Some(found) => Err(AddressError::of(&host, 443, found.ip()).into()),
                None => Ok(Box::new(addresses.into_iter()) as Addrs),
            }
        })
    }
}

/// Whether an address belongs to the public Internet.
///
/// Follows the IANA special-purpose registries (RFC 6890 and later registrations), strictly: everything that is not
/// clearly global unicast is refused, and an address that embeds an IPv4 address is as public as that one.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    off(Bound::PublicAddresses)
        || match address {
            IpAddr::V4(v4) => is_public_v4(v4),
            IpAddr::V6(v6) => is_public_v6(v6),
        }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, d] = address.octets();
    let special = match a {
        0 | 10 | 127 => true,
        100 => (64..128).contains(&b), // carrier-grade NAT; Alibaba's metadata service is here
        168 => (b, c, d) == (63, 129, 16), // Azure's metadata and wire server
        169 => b == 254,               // link-local; the metadata address of most clouds
        172 => (16..32).contains(&b),
        192 => (b == 0 && (c == 0 || c == 2)) || (b == 88 && c == 99) || b == 168,
        198 => b == 18 || b == 19 || (b == 51 && c == 100), // benchmarking, documentation
        203 => b == 0 && c == 113,
        224.. => true, // multicast, reserved, broadcast
        _ => false,
    };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // IPv4-mapped: the system connects to the IPv4 address.
        [0, 0, 0, 0, 0, 0xffff, high, low] => embedded(high, low),
        // NAT64: a translator connects to the IPv4 address. The local-use prefix 64:ff9b:1::/48 is covered by the rule
        // below: it is not globally reachable, whatever it embeds.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        // Everything outside global unicast: loopback, IPv4-compatible, ULA, link-local, site-local, multicast, ...
        [first, ..] if first & 0xe000 != 0x2000 => false,
        // IETF protocol assignments: Teredo, benchmarking, ORCHID.
        [0x2001, second, ..] if second < 0x0200 => false,
        [0x2001, 0x0db8, ..] => false,
        // 6to4 is no longer used on the public Internet; what is left are tunnels into private networks.
        [0x2002, ..] => false,
        // Documentation, 3fff::/20.
        [0x3fff, second, ..] if second < 0x1000 => false,
        _ => true,
    }
}

#[cfg(test)]
mod registries;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses_pass() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.88.98.1",
            "169.253.1.1",
            "168.63.129.17",
            "198.17.0.1",
            "198.20.0.1",
            "203.0.112.1",
            "223.255.255.255",
            "192.167.1.1",
            "2606:4700:4700::1111",
            "2a00:1450:4001:830::200e",
            "2001:4860:4860::8888",
            "2001:200::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "3fff:1000::1",
            "2003::1",
        ] {
            assert!(is_public(text.parse().expect("an address")), "{text} was refused");
        }
    }

    #[test]
    fn every_other_address_is_refused() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::8.8.8.8",
            "::ffff:127.0.0.1",
            "::ffff:10.1.2.3",
            "::ffff:169.254.169.254",
            "::ffff:0:8.8.8.8",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::8.8.8.8",
            "64:ff9b:1:a9fe:a9:fe00::",
            "100::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:808:808::1",
            "3fff::1",
            "3fff:fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "ff0e::1",
        ] {
            assert!(!is_public(text.parse().expect("an address")), "{text} passed");
        }
    }

    #[test]
    fn a_host_that_is_an_address_is_checked_and_an_exempt_one_is_not() {
        let origin = |text: &str| Origin::of(&text.parse().expect("a URL")).expect("an origin");
        let strict = AddressPolicy { routes: Vec::new(), exempt: Vec::new() };
        for refused in [
            "https://127.0.0.1",
            "https://[::1]:8443",
            "https://0x7f.1",
            "https://2130706433",
            "https://[64:ff9b::a9fe:a9fe]",
        ] {
            let error = strict.destination(&origin(refused)).expect_err(refused);
            let origin = origin(refused);
            assert!(error.to_string().contains(&format!("add \"{origin}\" to exempt under [gateway]")), "{error}");
            let exempt = vec![origin.to_string().parse().expect("a pattern")];
            let lenient = AddressPolicy { routes: Vec::new(), exempt };
            assert!(matches!(lenient.destination(&origin), Ok(Destination::Exempt)), "the advice helps: {error}");
        }
        let plain: Url = "http://intern.example:8080/hooks".parse().expect("a URL");
        let error = AddressError::of("intern.example", 443, [10, 0, 0, 1].into()).of_url(Some(&plain)).to_string();
        let advice = "add \"https://intern.example:8080\" to exempt under [gateway], which allows http there too";
        assert!(error.ends_with(advice), "{error}");
        assert!(matches!(strict.destination(&origin("https://8.8.8.8")), Ok(Destination::Public)));
        let lenient =
            AddressPolicy { routes: Vec::new(), exempt: vec!["https://127.0.0.1".parse().expect("a pattern")] };
        assert!(matches!(lenient.destination(&origin("https://127.0.0.1")), Ok(Destination::Exempt)));
        assert!(lenient.destination(&origin("https://127.0.0.1:8443")).is_err(), "the port belongs to the exemption");
    }
}
