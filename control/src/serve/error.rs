//! Why the control plane did not start.

use std::{io, net::SocketAddr, path::PathBuf};

use slipway_proto::problem::Problem;

use crate::{config::EXIT_CONFIG, pki, vault};

/// Why the control plane did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Logs cannot be written.
    #[error("could not set the log up")]
    Log(#[source] slipway_host::telemetry::Error),
    /// A file or folder cannot be used.
    #[error("could not use `{path}`")]
    Home {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process has the state folder.
    #[error("another control plane runs in `{path}`")]
    Taken {
        /// The folder.
        path: PathBuf,
    },
    /// The store failed.
    #[error("could not {action}")]
    Store {
        /// What was tried.
        action: &'static str,
        /// Why.
        #[source]
        source: slipway_store::Error,
    },
    /// The vault cannot be opened.
    #[error("could not open the vault")]
    Vault(#[source] vault::Error),
    /// The certificate authority cannot be used.
    #[error("could not use the certificate authority")]
    Authority(#[source] pki::Error),
    /// The agents' keys cannot be made.
    #[error("could not make the agents' keys")]
    Keys(#[source] Problem),
    /// An address cannot be listened on.
    #[error("could not listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The HTTP listener's certificate or key cannot be read.
    #[error("could not read `{path}`")]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// They cannot be used.
    #[error("the certificate and the key of the HTTP listener do not go together")]
    Tls(#[source] rustls::Error),
    /// The contract's descriptors cannot be read.
    #[error("could not read our own descriptors")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// Figures cannot be kept.
    #[error("could not set the figures up")]
    Figures(#[source] metrics_exporter_prometheus::BuildError),
    /// Signals cannot be listened for.
    #[error("could not listen for signals")]
    Signals(#[source] io::Error),
}

impl Error {
    pub(super) fn store(action: &'static str) -> impl FnOnce(slipway_store::Error) -> Self {
        move |source| Self::Store { action, source }
    }

    /// What the program exits with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Vault(error) if error.is_configuration() => EXIT_CONFIG,
            Self::Pem { .. } | Self::Tls(_) | Self::Log(_) => EXIT_CONFIG,
            Self::Store { source: slipway_store::Error::Url { .. }, .. } => EXIT_CONFIG,
            _ => 1,
        }
    }
}
