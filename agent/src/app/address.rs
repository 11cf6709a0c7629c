//! Addresses: every app has a network of its own, cut out of one pool, and every container an
//! address in it that it keeps for life. The agent is the only one that gives them out, and what it
//! gave is on disk before Docker hears of it.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, TcpListener},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use slipway_engine::network::Subnet;
use slipway_host::failpoint;
use slipway_proto::{
    problem::{Kind, Problem},
    value::AppKey,
};

use crate::deploy::write_failed;

/// Bits of an app's network: 61 containers.
const PREFIX: u8 = 26;
const MAX_FILE: u64 = 4 << 20;

/// Who has which addresses. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Addresses(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    pool: Subnet,
    ports: RangeInclusive<u16>,
    book: Mutex<Book>,
}

/// What is on disk.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct Book {
    apps: BTreeMap<AppKey, Entry>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// As text, `10.213.0.0/26`.
    subnet: String,
    /// By name of the container.
    containers: BTreeMap<String, Ipv4Addr>,
}

impl Addresses {
    /// Reads the book.
    ///
    /// # Errors
    /// The disk's, and a book that cannot be read: giving addresses out twice is worse than not
    /// starting.
    pub fn open(path: &Path, pool: Subnet, ports: RangeInclusive<u16>) -> io::Result<Self> {
        let book = match slipway_host::fs::read_limited(path, MAX_FILE)? {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other)?,
            None => Book::default(),
        };
        let path = path.to_owned();
        Ok(Self(Arc::new(Inner { path, pool, ports, book: Mutex::new(book) })))
    }

    /// The app's network. A new one overlaps neither another app's nor any of `taken`.
    ///
    /// # Errors
    /// The pool is used up, or the disk's.
    pub async fn subnet(&self, key: &AppKey, taken: Vec<Subnet>) -> Result<Subnet, Problem> {
        let key = key.clone();
        self.change(move |inner, book| {
            if let Some(known) = book.apps.get(&key).and_then(|it| it.subnet.parse().ok()) {
                return Ok(known);
            }
            let given = book.apps.values().filter_map(|it| it.subnet.parse::<Subnet>().ok());
            let given: Vec<Subnet> = given.chain(taken).collect();
            let free = |it: &Subnet| !given.iter().any(|other| other.overlaps(*it));
            let subnet = inner.pool.split(PREFIX).find(free).ok_or_else(|| {
                let message = format!("the network pool {} has no room left", inner.pool);
                Problem::new(Kind::Exhausted, "SW-NETWORK-POOL", message)
                    .hint("give the agent a larger `network.pool`")
            })?;
            let entry = Entry { subnet: subnet.to_string(), containers: BTreeMap::new() };
            book.apps.insert(key, entry);
            Ok(subnet)
        })
        .await
    }

    /// The address of a container; the same one for the same name until it is released. A new one is
    /// none of `taken`.
    ///
    /// # Errors
    /// The network is used up, or the disk's.
    pub async fn address(
        &self,
        key: &AppKey,
        container: &str,
        taken: Vec<Ipv4Addr>,
    ) -> Result<Ipv4Addr, Problem> {
        let (key, container) = (key.clone(), container.to_owned());
        self.change(move |_, book| {
            let missing = || Problem::internal(format!("`{key}` has no network yet"));
            let entry = book.apps.get_mut(&key).ok_or_else(missing)?;
            if let Some(known) = entry.containers.get(&container).filter(|it| !taken.contains(it)) {
                return Ok(*known);
            }
            let subnet: Subnet = entry.subnet.parse().map_err(Problem::from)?;
            let given: Vec<_> = entry.containers.values().chain(&taken).copied().collect();
            let address = subnet.hosts().find(|it| !given.contains(it)).ok_or_else(|| {
                let message = format!("the network of `{key}` has no address left");
                Problem::new(Kind::Exhausted, "SW-NETWORK-POOL", message).hint("use fewer replicas")
            })?;
            entry.containers.insert(container, address);
            Ok(address)
        })
        .await
    }

    /// Takes back the addresses of containers that are gone.
    ///
    /// # Errors
    /// The disk's.
    pub async fn release(&self, key: &AppKey, containers: Vec<String>) -> Result<(), Problem> {
        let key = key.clone();
        self.change(move |_, book| {
            if let Some(entry) = book.apps.get_mut(&key) {
                entry.containers.retain(|name, _| !containers.contains(name));
            }
            Ok(())
        })
        .await
    }

    /// Takes back the network of an app that is gone.
    ///
    /// # Errors
    /// The disk's.
    pub async fn forget(&self, key: &AppKey) -> Result<(), Problem> {
        let key = key.clone();
        self.change(move |_, book| {
            book.apps.remove(&key);
            Ok(())
        })
        .await
    }

    /// A port of the server that neither `taken` nor another program has.
    ///
    /// # Errors
    /// The range is used up.
    pub fn port(&self, taken: &[u16]) -> Result<u16, Problem> {
        let free = |port: &u16| {
            !taken.contains(port) && TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok()
        };
        self.0.ports.clone().find(free).ok_or_else(|| {
            let (from, to) = (self.0.ports.start(), self.0.ports.end());
            let message = format!("all ports from {from} to {to} of this server are taken");
            Problem::new(Kind::Exhausted, "SW-APP-PORTS", message)
                .hint("give the app a domain, or the agent a larger `app-ports`")
        })
    }

    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Inner, &mut Book) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let inner = Arc::clone(&self.0);
        let work = move || {
            let mut book = inner.book.lock().unwrap_or_else(PoisonError::into_inner);
            let mut next = book.clone();
            let value = change(&inner, &mut next)?;
            if next != *book {
                let bytes = serde_json::to_vec_pretty(&next)
                    .map_err(|_| Problem::internal("the book of addresses cannot be written"))?;
                failpoint!("agent.app.addresses.before");
                slipway_host::fs::replace(&inner.path, &bytes, 0o600)
                    .map_err(|it| write_failed(&it))?;
                failpoint!("agent.app.addresses.after");
                *book = next;
            }
            Ok(value)
        };
        let lost = |_| Problem::from(crate::deploy::Error::Stopping);
        tokio::task::spawn_blocking(work).await.map_err(lost)?
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(text: &str) -> AppKey {
        text.parse().unwrap()
    }

    fn open(dir: &Path) -> Addresses {
        Addresses::open(&dir.join("network.json"), "10.213.0.0/24".parse().unwrap(), 1..=2).unwrap()
    }

    #[tokio::test]
    async fn an_address_stays_with_its_container_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let addresses = open(dir.path());
        let subnet = addresses.subnet(&key("web"), Vec::new()).await.unwrap();
        let first = addresses.address(&key("web"), "a", Vec::new()).await.unwrap();
        let second = addresses.address(&key("web"), "b", Vec::new()).await.unwrap();
        assert!(subnet.contains(first) && first != second);
        let addresses = open(dir.path());
        assert_eq!(addresses.address(&key("web"), "b", Vec::new()).await.unwrap(), second);
        addresses.release(&key("web"), vec!["a".to_owned()]).await.unwrap();
        assert_eq!(addresses.address(&key("web"), "c", Vec::new()).await.unwrap(), first);
    }

    #[tokio::test]
    async fn networks_avoid_those_of_others_and_the_pool_ends() {
        let dir = tempfile::tempdir().unwrap();
        let addresses = open(dir.path());
        let taken = vec!["10.213.0.0/25".parse().unwrap()];
        let subnet = addresses.subnet(&key("a"), taken.clone()).await.unwrap();
        assert_eq!(subnet.to_string(), "10.213.0.128/26");
        addresses.subnet(&key("b"), taken.clone()).await.unwrap();
        let full = addresses.subnet(&key("c"), taken.clone()).await.unwrap_err();
        assert_eq!(full.code, "SW-NETWORK-POOL");
        addresses.forget(&key("a")).await.unwrap();
        assert_eq!(addresses.subnet(&key("c"), taken).await.unwrap(), subnet);
    }

    #[tokio::test]
    async fn an_address_that_someone_else_uses_is_left_to_them() {
        let dir = tempfile::tempdir().unwrap();
        let addresses = open(dir.path());
        addresses.subnet(&key("web"), Vec::new()).await.unwrap();
        let first = addresses.address(&key("web"), "a", Vec::new()).await.unwrap();
        let other = addresses.address(&key("web"), "a", vec![first]).await.unwrap();
        assert_ne!(first, other);
        assert_eq!(addresses.address(&key("web"), "a", Vec::new()).await.unwrap(), other);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn no_address_is_ever_given_twice(names in prop::collection::vec("[a-f]{1,2}", 1..40)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let dir = tempfile::tempdir().unwrap();
            let addresses = open(dir.path());
            let given = runtime.block_on(async {
                addresses.subnet(&key("web"), Vec::new()).await.unwrap();
                let mut given = BTreeMap::new();
                for name in names {
                    let address = addresses.address(&key("web"), &name, Vec::new()).await.unwrap();
                    given.insert(name, address);
                }
                given
            });
            let mut unique: Vec<_> = given.values().collect();
            unique.sort();
            unique.dedup();
            prop_assert_eq!(unique.len(), given.len());
        }
    }
}
