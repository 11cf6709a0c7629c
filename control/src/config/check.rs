//! From the layers to a complete, checked configuration.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use slipway_host::Secret;
use url::Url;

use super::{Config, Droplet, Exposure, Http, Layer};
use crate::vault::Place;

const DEFAULT_DATA_DIR: &str = "/var/lib/slipway";
const DEFAULT_ENROLL_TIMEOUT: Duration = Duration::from_secs(600);

/// Wrong configuration: what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file that was named does not exist.
    #[error("there is no configuration file `{path}`")]
    Missing {
        /// Its path.
        path: PathBuf,
    },
    /// A file could not be read.
    #[error("could not read `{path}`")]
    Read {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file says something wrong.
    #[error("`{path}`, {problem}")]
    File {
        /// Its path.
        path: PathBuf,
        /// Line, and what is wrong there.
        problem: String,
    },
    /// A variable says something wrong.
    #[error("variable `{name}`: {problem}")]
    Variable {
        /// Its name.
        name: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A setting is wrong.
    #[error("setting `{name}`: {problem}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// HTTP would be open to the network.
    #[error(
        "HTTP on {listen} would be open to the network in clear text: give `--http-tls-cert` and `--http-tls-key`, or `--http-behind-proxy` when a proxy of yours speaks TLS before it, or use 127.0.0.1"
    )]
    Open {
        /// The address.
        listen: SocketAddr,
    },
}

impl Layer {
    /// Fills what is still open with the defaults and checks the whole. `credentials` is systemd's
    /// folder of credentials.
    ///
    /// # Errors
    /// [`Error`].
    pub fn finish(self, credentials: Option<&Path>) -> Result<Config, Error> {
        let data_dir = self.data_dir.clone().unwrap_or_else(|| DEFAULT_DATA_DIR.into());
        if !data_dir.is_absolute() {
            return Err(setting("data-dir", "must be an absolute path"));
        }
        let master_key = Place::choose(self.master_key_file.as_deref(), credentials, &data_dir);
        Ok(Config {
            database_url: self.database(&data_dir)?,
            http: self.http()?,
            grpc: self.grpc.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 7443))),
            public_url: self.public_url.as_deref().map(public_url).transpose()?,
            master_key,
            do_api_url: do_api_url(self.do_api_url.as_deref())?,
            do_token: token("DO_API_TOKEN", self.do_token.as_ref(), self.do_token_file.as_deref())?,
            git_token: token(
                "GITHUB_TOKEN",
                self.git_token.as_ref(),
                self.git_token_file.as_deref(),
            )?,
            droplet: Droplet {
                region: self.droplet_region.unwrap_or_else(|| "lon1".to_owned()),
                size: self.droplet_size.unwrap_or_else(|| "s-1vcpu-1gb".to_owned()),
                image: self.droplet_image,
                ssh_key_ids: self.droplet_ssh_key_ids.unwrap_or_default(),
            },
            enroll_timeout: self.enroll_timeout.unwrap_or(DEFAULT_ENROLL_TIMEOUT),
            bootstrap_token_file: self.bootstrap_token_file,
            log: self.log.unwrap_or_else(|| "info".to_owned()),
            log_format: self.log_format.unwrap_or_default(),
            data_dir,
        })
    }

    fn database(&self, data_dir: &Path) -> Result<Secret<String>, Error> {
        let Some(url) = &self.database_url else {
            let path = data_dir.join("slipway.db");
            return Ok(Secret::new(format!("sqlite://{}", path.display())));
        };
        let known = ["sqlite:", "postgres://", "postgresql://"];
        if !known.iter().any(|it| url.expose().starts_with(it)) {
            return Err(setting("database-url", "must begin with `sqlite://` or `postgres://`"));
        }
        Ok(url.clone())
    }

    fn http(&self) -> Result<Http, Error> {
        let listen = self.http.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7080)));
        let exposure = match (&self.http_tls_cert, &self.http_tls_key) {
            (Some(cert), Some(key)) => Exposure::Tls { cert: cert.clone(), key: key.clone() },
            (Some(_), None) => {
                return Err(setting("http-tls-key", "is needed beside http-tls-cert"));
            }
            (None, Some(_)) => {
                return Err(setting("http-tls-cert", "is needed beside http-tls-key"));
            }
            (None, None) if self.http_behind_proxy == Some(true) => Exposure::BehindProxy,
            (None, None) if listen.ip().is_loopback() => Exposure::Loopback,
            (None, None) => return Err(Error::Open { listen }),
        };
        Ok(Http { listen, exposure })
    }
}

fn setting(name: &'static str, problem: impl Into<String>) -> Error {
    Error::Setting { name, problem: problem.into() }
}

fn public_url(text: &str) -> Result<Url, Error> {
    let wrong = |problem: &str| setting("public-url", problem);
    let url = Url::parse(text).map_err(|_| wrong("is no URL; write `https://HOST:7443`"))?;
    if url.scheme() != "https" {
        return Err(wrong("must begin with `https://`"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("must not hold a user or password"));
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("must be `https://HOST:PORT` and nothing more"));
    }
    Ok(url)
}

fn do_api_url(text: Option<&str>) -> Result<Url, Error> {
    let wrong = |problem: &str| setting("do-api-url", problem);
    let url = Url::parse(text.unwrap_or("https://api.digitalocean.com"))
        .map_err(|_| wrong("is no URL"))?;
    let loopback = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
        return Err(wrong("must begin with `https://`; `http://` only on loopback"));
    }
    Ok(url)
}

fn token(
    name: &'static str,
    value: Option<&Secret<String>>,
    file: Option<&Path>,
) -> Result<Option<Secret<String>>, Error> {
    let text = match (value, file) {
        (Some(_), Some(_)) => {
            return Err(setting(name, "is given twice: as a value and as a file"));
        }
        (Some(value), None) => value.expose().trim().to_owned(),
        (None, Some(path)) => {
            let bytes = slipway_host::fs::read_limited(path, 4096)
                .map_err(|source| Error::Read { path: path.to_owned(), source })?
                .ok_or_else(|| Error::Missing { path: path.to_owned() })?;
            String::from_utf8_lossy(&bytes).trim().to_owned()
        }
        (None, None) => return Ok(None),
    };
    if text.is_empty() || text.chars().any(|it| it.is_whitespace() || it.is_control()) {
        return Err(setting(name, "is empty or holds a blank"));
    }
    Ok(Some(Secret::new(text)))
}
