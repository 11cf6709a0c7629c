//! Which control plane is meant. `SLIPWAY_URL` and `SLIPWAY_TOKEN` win; else the current context of
//! `contexts.toml`, which `slipway login` writes, readable by its owner only.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};
use slipway_host::{Secret, fs};

use super::{Environment, Error};

/// Name of the context that stands for the two variables.
pub(super) const FROM_ENVIRONMENT: &str = "environment";

const LIMIT: u64 = 1 << 20;

/// A control plane and how to get in.
#[derive(Clone, Debug)]
pub(super) struct Context {
    /// Name, for people.
    pub(super) name: String,
    /// Where it is, `https://host:port`.
    pub(super) url: String,
    /// API token.
    pub(super) token: Secret<String>,
}

/// The file of contexts.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Contexts {
    /// The one that is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) current: Option<String>,
    /// All of them, by name.
    #[serde(default)]
    pub(super) contexts: BTreeMap<String, Entry>,
}

/// A context as it is kept.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// Where the control plane is.
    pub(super) url: String,
    /// API token.
    pub(super) token: String,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Contexts {
    /// Where the file is.
    pub(super) fn path(environment: &Environment) -> PathBuf {
        environment.config_dir().join("contexts.toml")
    }

    /// Reads the file; none is the same as an empty one.
    pub(super) fn load(environment: &Environment) -> Result<Self, Error> {
        let path = Self::path(environment);
        let read = fs::read_limited(&path, LIMIT).map_err(|source| Error::File {
            action: "read",
            path: path.clone(),
            source,
        })?;
        let Some(bytes) = read else { return Ok(Self::default()) };
        toml::from_str(&String::from_utf8_lossy(&bytes)).map_err(|error| {
            // The error shows the line, and a line may hold a token: only its message is kept.
            Error::config(
                format!("`{}` is not a file of contexts: {}", path.display(), error.message()),
                "correct it, or remove it and run `slipway login` again",
            )
        })
    }

    /// Writes the file, readable by its owner only.
    pub(super) fn save(&self, environment: &Environment) -> Result<(), Error> {
        let path = Self::path(environment);
        let wrap = |action| {
            let path = path.clone();
            move |source| Error::File { action, path, source }
        };
        let text = toml::to_string_pretty(self)
            .map_err(|error| Error::local(format!("contexts cannot be written: {error}"), ""))?;
        fs::make_dir(&environment.config_dir(), 0o700).map_err(wrap("make the folder of"))?;
        fs::replace(&path, text.as_bytes(), 0o600).map_err(wrap("write"))
    }

    /// The context that commands use.
    pub(super) fn chosen(
        &self,
        environment: &Environment,
        wanted: Option<&str>,
    ) -> Result<Context, Error> {
        if wanted.is_none()
            && let Some(context) = from_environment(environment)?
        {
            return Ok(context);
        }
        let Some(name) = wanted.or(self.current.as_deref()) else {
            return Err(Error::config(
                "no control plane is chosen",
                "run `slipway dev up` to try one here, or `slipway login URL`, or set SLIPWAY_URL and SLIPWAY_TOKEN",
            ));
        };
        let Some(entry) = self.contexts.get(name) else {
            return Err(Error::config(
                format!("there is no context `{name}`"),
                "`slipway context ls` shows those that exist",
            ));
        };
        Ok(Context {
            name: name.to_owned(),
            url: entry.url.clone(),
            token: Secret::new(entry.token.clone()),
        })
    }
}

fn from_environment(environment: &Environment) -> Result<Option<Context>, Error> {
    match (environment.get("SLIPWAY_URL"), environment.get("SLIPWAY_TOKEN")) {
        (Some(url), Some(token)) => Ok(Some(Context {
            name: FROM_ENVIRONMENT.to_owned(),
            url: url.to_owned(),
            token: Secret::new(token.to_owned()),
        })),
        (None, None) => Ok(None),
        (Some(_), None) => {
            Err(Error::config("SLIPWAY_URL is set without SLIPWAY_TOKEN", "set both, or neither"))
        }
        (None, Some(_)) => {
            Err(Error::config("SLIPWAY_TOKEN is set without SLIPWAY_URL", "set both, or neither"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn home() -> (tempfile::TempDir, Environment) {
        let dir = tempfile::tempdir().unwrap();
        let environment = Environment::from([("XDG_CONFIG_HOME", dir.path().to_str().unwrap())]);
        (dir, environment)
    }

    #[test]
    fn what_is_saved_is_loaded_and_only_the_owner_can_read_it() {
        let (_dir, environment) = home();
        let entry = Entry { url: "https://a:7443".to_owned(), token: "swp_x".to_owned() };
        let contexts = Contexts {
            current: Some("a".to_owned()),
            contexts: BTreeMap::from([("a".to_owned(), entry)]),
        };
        contexts.save(&environment).unwrap();
        let path = Contexts::path(&environment);
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        let chosen = Contexts::load(&environment).unwrap().chosen(&environment, None).unwrap();
        assert_eq!((chosen.name.as_str(), chosen.url.as_str()), ("a", "https://a:7443"));
        assert_eq!(chosen.token.expose(), "swp_x");
    }

    #[test]
    fn variables_win_and_half_of_them_is_refused() {
        let both = Environment::from([("SLIPWAY_URL", "https://b"), ("SLIPWAY_TOKEN", "swp_y")]);
        let chosen = Contexts::default().chosen(&both, None).unwrap();
        assert_eq!((chosen.name.as_str(), chosen.url.as_str()), ("environment", "https://b"));
        let half = Environment::from([("SLIPWAY_URL", "https://b")]);
        assert_eq!(Contexts::default().chosen(&half, None).unwrap_err().exit_code(), 78);
    }

    #[test]
    fn a_broken_file_is_named_without_its_token() {
        let (_dir, environment) = home();
        fs::make_dir(&environment.config_dir(), 0o700).unwrap();
        let text = "[contexts.a]\nurl = \"u\"\ntoken = \"swp_secret\"\nextra = 1\n";
        fs::replace(&Contexts::path(&environment), text.as_bytes(), 0o600).unwrap();
        let error = Contexts::load(&environment).unwrap_err();
        assert_eq!(error.exit_code(), 78);
        assert!(!error.to_string().contains("swp_secret"), "{error}");
        assert!(error.to_string().contains("contexts.toml"), "{error}");
    }
}
