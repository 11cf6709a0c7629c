//! Networks: one bridge per app, whose addresses the agent gives out.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

use crate::{
    error::{Error, Result},
    label::Labels,
};

/// An IPv4 network: an address with the host's bits zero, and how many bits are the network's.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Subnet {
    base: Ipv4Addr,
    prefix: u8,
}

impl Subnet {
    /// The network of `prefix` bits that holds `address`. `None` beyond 30 bits, where no host fits.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        let mask = u32::MAX.checked_shl(32_u32.checked_sub(u32::from(prefix))?).unwrap_or(0);
        (prefix <= 30).then(|| Self { base: Ipv4Addr::from_bits(address.to_bits() & mask), prefix })
    }

    /// Its first address, which no host has.
    pub fn base(self) -> Ipv4Addr {
        self.base
    }

    /// How many bits are the network's.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The bridge's own address: the first that a host can have.
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base.to_bits().saturating_add(1))
    }

    /// The addresses that containers can have, ascending.
    pub fn hosts(self) -> impl Iterator<Item = Ipv4Addr> {
        let base = u64::from(self.base.to_bits());
        let (first, last) = (base + 2, base + self.len() - 2);
        (first..=last).filter_map(|it| u32::try_from(it).ok()).map(Ipv4Addr::from_bits)
    }

    /// The networks of `prefix` bits inside this one, ascending. None when `prefix` is too short.
    pub fn split(self, prefix: u8) -> impl Iterator<Item = Self> {
        let fits = self.prefix <= prefix && prefix <= 30;
        let base = u64::from(self.base.to_bits());
        let step = 1_usize << (32 - u32::from(prefix.min(30)));
        let end = if fits { base + self.len() } else { base };
        (base..end)
            .step_by(step)
            .filter_map(|it| u32::try_from(it).ok())
            .filter_map(move |it| Self::new(Ipv4Addr::from_bits(it), prefix))
    }

    /// Whether the address lies in it.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        Self::new(address, self.prefix).is_some_and(|it| it == self)
    }

    /// Whether the two share an address.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.base) || other.contains(self.base)
    }

    fn len(self) -> u64 {
        1 << (32 - u32::from(self.prefix))
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            Self::new(address.parse().ok()?, prefix.parse().ok()?)
        };
        parse().ok_or_else(|| {
            Error::argument("subnet", text, "is not an IPv4 network such as `10.213.0.0/26`")
        })
    }
}

/// An app's network.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NetworkSpec {
    /// Name: `slipway-<appkey>`.
    pub name: String,
    /// Its addresses.
    pub subnet: Subnet,
    /// Its labels; must hold [`label::APP`](crate::label::APP).
    pub labels: Labels,
}

/// A network that exists.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Network {
    /// Docker's id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Its IPv4 addresses; Docker's own `host` and `none` have none.
    pub subnets: Vec<Subnet>,
    /// Its labels.
    pub labels: Labels,
}

/// Where a container is attached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attachment {
    /// Name of the network.
    pub network: String,
    /// The container's address in it, for as long as the container exists.
    pub address: Ipv4Addr,
    /// Names by which containers of the same network find it.
    pub aliases: Vec<String>,
}

/// The IPv4 address in a text; `None` for another or none at all.
pub(crate) fn ipv4(text: &str) -> Option<Ipv4Addr> {
    match text.parse() {
        Ok(IpAddr::V4(it)) => Some(it),
        Ok(IpAddr::V6(_)) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn a_subnet_gives_out_all_but_three_addresses() {
        let it = subnet("10.213.0.64/26");
        assert_eq!(it.gateway().to_string(), "10.213.0.65");
        let hosts: Vec<_> = it.hosts().collect();
        assert_eq!(hosts.len(), 61);
        assert_eq!(hosts.first().unwrap().to_string(), "10.213.0.66");
        assert_eq!(hosts.last().unwrap().to_string(), "10.213.0.126");
        assert!(hosts.into_iter().all(|host| it.contains(host)));
    }

    #[test]
    fn a_pool_splits_into_subnets_without_gaps() {
        let parts: Vec<_> = subnet("10.213.0.0/16").split(26).collect();
        assert_eq!(parts.len(), 1024);
        assert_eq!(parts.last().unwrap().to_string(), "10.213.255.192/26");
        assert_eq!(subnet("255.255.255.0/24").split(26).count(), 4);
        assert_eq!(subnet("10.0.0.0/26").split(16).count(), 0);
    }

    #[test]
    fn networks_overlap_when_one_holds_the_other() {
        assert!(subnet("10.213.0.0/16").overlaps(subnet("10.213.7.0/26")));
        assert!(subnet("10.213.7.0/26").overlaps(subnet("10.0.0.0/8")));
        assert!(!subnet("10.213.7.0/26").overlaps(subnet("10.213.7.64/26")));
        assert!(subnet("0.0.0.0/0").contains(Ipv4Addr::LOCALHOST));
    }

    #[test]
    fn the_hosts_bits_are_cut_off() {
        assert_eq!(subnet("10.213.0.70/26").to_string(), "10.213.0.64/26");
        for bad in ["10.0.0.0", "10.0.0.0/31", "10.0.0.0/x", "fe80::/10"] {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
    }
}
