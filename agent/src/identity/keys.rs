//! The `x-api-key`s that callers may show, as hashes.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use slipway_host::clock::Clock;
use slipway_proto::{
    control::v1::AcceptedKey,
    key::{self, KeyHash},
};

use super::{Error, Home};

/// Keys that are accepted at a time.
const MAX: usize = 16;
/// Longest key of any version.
const MAX_LEN: usize = 64;

/// The keys to accept; what is replaced here is replaced on disk.
#[derive(Debug)]
pub struct Keys {
    path: PathBuf,
    now: ArcSwap<Vec<Accepted>>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Accepted {
    /// Lower-case hex.
    sha256: String,
    /// Seconds since 1970; none: until it is replaced.
    not_after: Option<u64>,
}

impl Accepted {
    fn hash(&self) -> Option<KeyHash> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(&self.sha256, &mut bytes).ok()?;
        Some(KeyHash::from(bytes))
    }

    fn holds(&self, now: SystemTime) -> bool {
        self.not_after.is_none_or(|it| now < UNIX_EPOCH + Duration::from_secs(it))
    }
}

impl Keys {
    /// Reads the keys; none of them when there is no file yet.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Broken`].
    pub fn load(home: &Home) -> Result<Self, Error> {
        let path = home.accepted_keys();
        let now = Home::read_json::<Vec<Accepted>>(&path)?.unwrap_or_default();
        Ok(Self { path, now: ArcSwap::from_pointee(now) })
    }

    /// Accepts these from now on, and no others.
    ///
    /// # Errors
    /// [`Error::Answer`] when there are too many or one is not a hash; [`Error::File`]. Then the
    /// old ones stay.
    pub fn replace(&self, keys: &[AcceptedKey]) -> Result<(), Error> {
        if keys.len() > MAX {
            return Err(Error::Answer("there are too many keys in it"));
        }
        let next = keys.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        if next == **self.now.load() {
            return Ok(());
        }
        Home::write_json(&self.path, &next)?;
        self.now.store(std::sync::Arc::new(next));
        Ok(())
    }

    /// Whether a caller's key is one of those. Takes the same time for all keys of one length.
    pub fn accept(&self, key: &str, clock: &Clock) -> bool {
        if key.len() < key::LEN || key.len() > MAX_LEN {
            return false;
        }
        let (hash, now) = (KeyHash::of(key), clock.now());
        // Every key is looked at, whichever fits.
        self.now
            .load()
            .iter()
            .fold(false, |found, it| found | ((it.hash().as_ref() == Some(&hash)) & it.holds(now)))
    }
}

fn read(key: &AcceptedKey) -> Result<Accepted, Error> {
    let sha256 = <[u8; 32]>::try_from(&*key.sha256)
        .map_err(|_| Error::Answer("a key in it is not a hash"))?;
    let not_after = key.not_after.map(|it| u64::try_from(it.seconds).unwrap_or(0));
    Ok(Accepted { sha256: hex::encode(sha256), not_after })
}

#[cfg(test)]
mod tests {
    use slipway_proto::key::NodeKey;

    use super::*;

    fn accepted(key: &NodeKey, not_after: Option<i64>) -> AcceptedKey {
        AcceptedKey {
            sha256: key.hash().bytes().to_vec().into(),
            not_after: not_after.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 }),
        }
    }

    #[test]
    fn only_listed_keys_are_accepted_each_as_long_as_it_holds_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        let (new, old) = (NodeKey::derive(b"new", "42"), NodeKey::derive(b"old", "42"));
        let clock = Clock::manual(UNIX_EPOCH + Duration::from_secs(100));
        let keys = Keys::load(&home).unwrap();
        assert!(!keys.accept(new.expose(), &clock));
        keys.replace(&[accepted(&new, None), accepted(&old, Some(200))]).unwrap();

        let keys = Keys::load(&home).unwrap();
        assert!(keys.accept(new.expose(), &clock) && keys.accept(old.expose(), &clock));
        let upper = new.expose().to_uppercase();
        let longer = format!("{}0", new.expose());
        for wrong in [
            "",
            new.expose().strip_suffix(|_: char| true).unwrap(),
            &upper,
            &longer,
            &"x".repeat(1 << 20),
            "é",
        ] {
            assert!(!keys.accept(wrong, &clock), "{} characters", wrong.len());
        }
        clock.advance(Duration::from_secs(100));
        assert!(keys.accept(new.expose(), &clock) && !keys.accept(old.expose(), &clock));

        let odd = AcceptedKey { sha256: vec![1; 31].into(), not_after: None };
        assert!(keys.replace(&[odd]).is_err());
        assert!(keys.accept(new.expose(), &clock), "the old ones stay");
        let file = std::fs::read_to_string(home.accepted_keys()).unwrap();
        assert!(!file.contains(new.expose()));
    }
}
