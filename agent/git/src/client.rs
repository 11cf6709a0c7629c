//! HTTP that dials only what may be dialled, within one deadline and one byte budget.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use reqwest::{
    Client,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use slipway_host::Secret;
use slipway_proto::value::{GitUrl, Outbound, is_public};
use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use url::{Origin, Url};

use crate::{Error, Limits, Request};

const CONNECT: Duration = Duration::from_secs(10);
/// A server that says nothing for this long has gone away.
const SILENCE: Duration = Duration::from_secs(60);

/// What all requests of one fetch share.
pub(crate) struct Session {
    pub(crate) http: Client,
    pub(crate) limits: Limits,
    pub(crate) stop: CancellationToken,
    runtime: Runtime,
    outbound: Outbound,
    login: Option<Login>,
    until: Instant,
    received: AtomicU64,
    /// The first failure. libgit2 hands on only text.
    failure: Slot,
}

type Slot = Arc<Mutex<Option<Error>>>;

/// A token, and the one origin that may see it.
struct Login {
    origin: Origin,
    user: &'static str,
    token: Secret<String>,
}

impl Session {
    /// Makes the client. Dials nothing.
    pub(crate) fn new(request: &Request, stop: &CancellationToken) -> Result<Self, Error> {
        request.url.check(request.outbound).map_err(Error::Address)?;
        // Set by the program already, or not at all: in both cases there is one afterwards.
        drop(rustls::crypto::ring::default_provider().install_default());
        let runtime = Builder::new_current_thread().enable_all().build().map_err(Error::write)?;
        let failure = Slot::default();
        let resolver = Public { outbound: request.outbound, failure: Arc::clone(&failure) };
        let http = Client::builder()
            .user_agent("git/2.0 (slipway)")
            .redirect(redirect::Policy::none())
            // A proxy would resolve the name, and nobody would check what it found.
            .no_proxy()
            .dns_resolver(resolver)
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .http1_only()
            .build()
            .map_err(|error| Error::Unreachable(chain(&error)))?;
        let until = Instant::now() + request.limits.deadline;
        Ok(Self {
            http,
            limits: request.limits.clone(),
            stop: stop.clone(),
            runtime,
            outbound: request.outbound,
            login: login(request)?,
            until,
            received: AtomicU64::new(0),
            failure,
        })
    }

    /// Checks the address of a submodule like that of the repository.
    pub(crate) fn check(&self, url: &GitUrl) -> Result<(), Error> {
        url.check(self.outbound).map_err(Error::Address)
    }

    /// User and token for a request to `url`, when that is where the token belongs.
    pub(crate) fn login(&self, url: &Url) -> Option<(&str, &str)> {
        let login = self.login.as_ref().filter(|it| it.origin == url.origin())?;
        Some((login.user, login.token.expose()))
    }

    /// Runs `work` to its end, or to the deadline, or until it is asked to stop.
    pub(crate) fn wait<T>(
        &self,
        work: impl Future<Output = reqwest::Result<T>>,
    ) -> Result<T, Error> {
        self.check_time()?;
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => Err(Error::Canceled),
                result = timeout_at(self.until, work) => match result {
                    Ok(result) => result.map_err(|error| self.unreachable(&error)),
                    Err(_) => Err(self.timeout()),
                },
            }
        })
    }

    /// Whether there is time left.
    pub(crate) fn check_time(&self) -> Result<(), Error> {
        if self.stop.is_cancelled() {
            return Err(Error::Canceled);
        }
        if self.until <= Instant::now() {
            return Err(self.timeout());
        }
        Ok(())
    }

    /// Counts received bytes.
    pub(crate) fn receive(&self, bytes: usize) -> Result<(), Error> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let before = self.received.fetch_add(bytes, Ordering::Relaxed);
        if self.limits.received_bytes < before.saturating_add(bytes) {
            let most = self.limits.received_bytes;
            return Err(Error::TooBig(format!("sends more than {most} bytes")));
        }
        Ok(())
    }

    /// Keeps a failure for later, and gives what libgit2 is told.
    pub(crate) fn fail(&self, error: Error) -> std::io::Error {
        let text = error.to_string();
        let mut slot = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        slot.get_or_insert(error);
        std::io::Error::other(text)
    }

    /// What really happened when libgit2 failed.
    pub(crate) fn failure(&self, error: &git2::Error) -> Error {
        let kept = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        kept.unwrap_or_else(|| Error::Protocol(crate::error::escape(error.message().as_bytes())))
    }

    /// Ends the connections without waiting for anyone.
    pub(crate) fn close(self) {
        self.runtime.shutdown_background();
    }

    fn unreachable(&self, error: &reqwest::Error) -> Error {
        let kept = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        kept.unwrap_or_else(|| Error::Unreachable(chain(error)))
    }

    fn timeout(&self) -> Error {
        Error::Timeout { limit: self.limits.deadline }
    }
}

fn login(request: &Request) -> Result<Option<Login>, Error> {
    let Some(token) = request.token.clone().filter(|it| !it.expose().is_empty()) else {
        return Ok(None);
    };
    let url =
        Url::parse(request.url.as_str()).map_err(|error| Error::Unreachable(error.to_string()))?;
    // GitHub and GitLab take any name with a token, Bitbucket this one.
    let user = match url.host_str() {
        Some("bitbucket.org") => "x-token-auth",
        _ => "x-access-token",
    };
    Ok(Some(Login { origin: url.origin(), user, token }))
}

/// A client's error without the address, which may be private.
fn chain(error: &reqwest::Error) -> String {
    let mut error: &dyn std::error::Error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    crate::error::escape(error.to_string().as_bytes())
}

/// Resolves names, and gives only addresses that may be dialled. What it gives is what is dialled.
struct Public {
    outbound: Outbound,
    failure: Slot,
}

impl Resolve for Public {
    fn resolve(&self, name: Name) -> Resolving {
        let (outbound, failure) = (self.outbound, Arc::clone(&self.failure));
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            // One such address among others is no accident either.
            if !outbound.allow_private && found.iter().any(|it| !is_public(it.ip())) {
                let mut slot = failure.lock().unwrap_or_else(PoisonError::into_inner);
                slot.get_or_insert(Error::Host { host });
                return Err("not a public address".into());
            }
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;

    #[tokio::test]
    async fn a_name_that_leads_home_is_not_dialled() {
        for (allow_private, is_given) in [(false, false), (true, true)] {
            let outbound = Outbound { allow_http: false, allow_private };
            let failure = Slot::default();
            let public = Public { outbound, failure: Arc::clone(&failure) };
            let found = public.resolve(Name::from_str("localhost").unwrap()).await;
            assert_eq!(found.is_ok(), is_given);
            assert_eq!(failure.lock().unwrap().is_none(), is_given);
        }
    }
}
