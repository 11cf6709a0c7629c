//! Who this agent is.
//!
//! * [`home`]: the files: one with key, chain and roots, replaced as a whole.
//! * [`keys`]: hashes of the `x-api-key`s that callers may show.
//! * [`enroll`]: trades a join token for an identity.
//! * [`renew`]: new keys and requests, and when it is time for them.
//! * [`auth`]: resolves the callers of this agent, for the guard.
//!
//! [`Identity`] is what the rest of the agent holds: the listener and the session take their TLS
//! from it, and a renewal shows in both without a restart.

pub mod auth;
pub mod enroll;
pub mod home;
pub mod keys;
pub mod renew;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use rustls::pki_types::CertificateDer;
use slipway_transport::{Credentials, tls};

pub use auth::Auth;
pub use home::{Home, Saved};
pub use keys::Keys;

/// An identity that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written.
    #[error("could not {action} `{path}`")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("`{path}` is broken: {detail}; enroll again with a new join token")]
    Broken {
        /// The file.
        path: std::path::PathBuf,
        /// How.
        detail: String,
    },
    /// What the control plane sent does not belong together.
    #[error("the control plane's answer cannot be used: {0}")]
    Answer(&'static str),
    /// A certificate, its key or the roots cannot be used.
    #[error("the certificate cannot be used")]
    Credentials(#[source] tls::Error),
    /// No key or request could be made.
    #[error("could not make a key")]
    Key(#[source] rcgen::Error),
}

/// Who this agent is, with what proves it.
#[derive(Debug)]
pub struct Identity {
    home: Home,
    saved: Mutex<Saved>,
    credentials: Arc<Credentials>,
    keys: Arc<Keys>,
}

impl Identity {
    /// Reads the identity from the state folder. None: this machine has not joined yet.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn load(state_dir: &Path) -> Result<Option<Arc<Self>>, Error> {
        let home = Home::open(state_dir)?;
        let Some(saved) = home.load()? else { return Ok(None) };
        let credentials = Credentials::new(saved.chain()?, saved.key()?, &saved.roots()?)
            .map_err(Error::Credentials)?;
        let keys = Arc::new(Keys::load(&home)?);
        Ok(Some(Arc::new(Self { home, saved: Mutex::new(saved), credentials, keys })))
    }

    /// Id of the agent.
    pub fn agent_id(&self) -> String {
        self.saved(|it| it.agent_id.clone())
    }

    /// Owner of this server.
    pub fn user(&self) -> String {
        self.saved(|it| it.user.clone())
    }

    /// The installation.
    pub fn install(&self) -> String {
        self.saved(|it| it.install.clone())
    }

    /// Name of this server, for people.
    pub fn server_name(&self) -> String {
        self.saved(|it| it.server_name.clone())
    }

    /// Address and port of the control plane.
    pub fn control(&self) -> String {
        self.saved(|it| it.control.clone())
    }

    /// When the certificate ends.
    pub fn not_after(&self) -> SystemTime {
        self.credentials.leaf().not_after
    }

    /// Key, chain and roots for TLS; they follow each renewal.
    pub fn credentials(&self) -> &Arc<Credentials> {
        &self.credentials
    }

    /// The `x-api-key`s to accept.
    pub fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// Takes over a renewed certificate: on disk first, then for all later handshakes.
    ///
    /// # Errors
    /// See [`Error`]; then the old one stays.
    pub fn adopt(
        &self,
        key: &renew::Key,
        chain: Vec<CertificateDer<'static>>,
        roots: Vec<CertificateDer<'static>>,
    ) -> Result<(), Error> {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let next = saved.renewed(key, &chain, &roots)?;
        // A certificate that does not work must not reach the disk.
        Credentials::new(chain.clone(), next.key()?, &roots).map_err(Error::Credentials)?;
        slipway_host::failpoint!("identity.renew.before-save");
        self.home.save(&next)?;
        slipway_host::failpoint!("identity.renew.saved");
        self.credentials.replace(chain, next.key()?, &roots).map_err(Error::Credentials)?;
        *saved = next;
        Ok(())
    }

    fn saved<T>(&self, read: impl FnOnce(&Saved) -> T) -> T {
        read(&self.saved.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
pub(crate) mod tests;
