//! The files of an identity, all of them for their owner only (0600, in folders 0700).
//!
//! * `pki/identity.json`: key, chain, roots and names. One file, so that a crash leaves the old
//!   identity or the new one and never a mixture.
//! * `pki/pending.key`: the key of an enrollment that is under way. It is kept until the answer is
//!   on disk, because the control plane repeats a lost answer only to the same key.
//! * `pki/accepted-keys.json`: hashes of the `x-api-key`s to accept.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use slipway_host::{Secret, fs};
use slipway_transport::{Certificate, peer};

use super::{Error, renew::Key};

const MODE: u32 = 0o600;
const LIMIT: u64 = 256 << 10;

/// The folder of an identity.
#[derive(Clone, Debug)]
pub struct Home {
    dir: PathBuf,
}

/// What is kept of an identity. Bytes are base64 of DER.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    /// Id of the agent.
    pub agent_id: String,
    /// Owner of this server.
    pub user: String,
    /// The installation.
    pub install: String,
    /// Name of this server, for people.
    pub server_name: String,
    /// Address and port of the control plane.
    pub control: String,
    /// Number of the droplet that the identity was given to; 0: not a droplet.
    pub droplet_id: u64,
    key: String,
    chain: Vec<String>,
    roots: Vec<String>,
}

impl fmt::Debug for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Saved").field("agent_id", &self.agent_id).finish_non_exhaustive()
    }
}

/// What else is known when an identity is new.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) server_name: String,
    pub(super) control: String,
    pub(super) droplet_id: u64,
}

impl Saved {
    /// Puts a new identity together.
    ///
    /// # Errors
    /// [`Error::Answer`] when the parts do not belong together.
    pub(super) fn new(
        key: &Key,
        chain: &[CertificateDer<'static>],
        roots: &[CertificateDer<'static>],
        names: Names,
    ) -> Result<Self, Error> {
        let leaf = chain.first().ok_or(Error::Answer("there is no certificate in it"))?;
        let leaf = Certificate::parse(leaf)
            .map_err(|_| Error::Answer("its certificate is not one of Slipway's"))?;
        let peer::Identity::Agent { install, user, agent } = leaf.identity else {
            return Err(Error::Answer("its certificate is not an agent's"));
        };
        if roots.is_empty() {
            return Err(Error::Answer("there is no root in it"));
        }
        let all = |list: &[CertificateDer<'static>]| {
            list.iter().map(|it| STANDARD.encode(it)).collect::<Vec<_>>()
        };
        let Names { server_name, control, droplet_id } = names;
        Ok(Self {
            agent_id: agent,
            user,
            install,
            server_name,
            control,
            droplet_id,
            key: STANDARD.encode(key.pkcs8()),
            chain: all(chain),
            roots: all(roots),
        })
    }

    /// The same identity with a renewed certificate.
    ///
    /// # Errors
    /// [`Error::Answer`] when the certificate is for somebody else.
    pub(super) fn renewed(
        &self,
        key: &Key,
        chain: &[CertificateDer<'static>],
        roots: &[CertificateDer<'static>],
    ) -> Result<Self, Error> {
        let names = Names {
            server_name: self.server_name.clone(),
            control: self.control.clone(),
            droplet_id: self.droplet_id,
        };
        let next = Self::new(key, chain, roots, names)?;
        let same = next.agent_id == self.agent_id
            && next.user == self.user
            && next.install == self.install;
        if same { Ok(next) } else { Err(Error::Answer("its certificate is for another agent")) }
    }

    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, Error> {
        Ok(PrivatePkcs8KeyDer::from(decode(&self.key)?).into())
    }

    pub(super) fn chain(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        certificates(&self.chain)
    }

    pub(super) fn roots(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        certificates(&self.roots)
    }
}

fn certificates(list: &[String]) -> Result<Vec<CertificateDer<'static>>, Error> {
    list.iter().map(|it| decode(it).map(CertificateDer::from)).collect()
}

fn decode(text: &str) -> Result<Vec<u8>, Error> {
    STANDARD.decode(text).map_err(|_| Error::Answer("it is not base64"))
}

impl Home {
    /// Opens the folder within the state folder, and makes it if need be.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn open(state_dir: &Path) -> Result<Self, Error> {
        let dir = state_dir.join("pki");
        match fs::make_dir(&dir, 0o700) {
            Ok(()) => Ok(Self { dir }),
            Err(source) => Err(Error::File { action: "make", path: dir, source }),
        }
    }

    /// Reads the identity; none when there is none yet.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Broken`].
    pub fn load(&self) -> Result<Option<Saved>, Error> {
        Self::read_json(&self.identity())
    }

    pub(super) fn save(&self, saved: &Saved) -> Result<(), Error> {
        Self::write_json(&self.identity(), saved)
    }

    /// Moves the identity aside, because it belongs to another machine.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(super) fn set_aside(&self) -> Result<(), Error> {
        let path = self.identity();
        let aside = self.dir.join("identity.other-machine.json");
        fs::rename(&path, &aside).map_err(file("move aside", &path))
    }

    /// The key of an enrollment that was begun before.
    pub(super) fn pending(&self) -> Result<Option<Secret<Vec<u8>>>, Error> {
        let path = self.dir.join("pending.key");
        let bytes = fs::read_limited(&path, LIMIT).map_err(file("read", &path))?;
        Ok(bytes.map(Secret::new))
    }

    pub(super) fn set_pending(&self, key: &Key) -> Result<(), Error> {
        let path = self.dir.join("pending.key");
        fs::replace(&path, key.pkcs8(), MODE).map_err(file("write", &path))
    }

    pub(super) fn clear_pending(&self) -> Result<(), Error> {
        let path = self.dir.join("pending.key");
        fs::remove(&path).map_err(file("remove", &path))?;
        fs::sync_dir(&self.dir).map_err(file("sync", &self.dir))
    }

    pub(super) fn accepted_keys(&self) -> PathBuf {
        self.dir.join("accepted-keys.json")
    }

    fn identity(&self) -> PathBuf {
        self.dir.join("identity.json")
    }

    pub(super) fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Option<T>, Error> {
        let Some(bytes) = fs::read_limited(path, LIMIT).map_err(file("read", path))? else {
            return Ok(None);
        };
        match serde_json::from_slice(&bytes) {
            Ok(it) => Ok(Some(it)),
            Err(error) => {
                // The error's own text could quote the key.
                let detail = format!("line {}, column {}", error.line(), error.column());
                Err(Error::Broken { path: path.to_owned(), detail })
            }
        }
    }

    pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
        let bytes = serde_json::to_vec(value)
            .map_err(|it| file("write", path)(io::Error::other(it)))
            .map(Secret::new)?;
        fs::replace(path, bytes.expose(), MODE).map_err(file("write", path))
    }
}

pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { action, path, source }
}
