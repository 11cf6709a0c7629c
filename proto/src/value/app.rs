//! Which app in which environment: what an agent keys everything by.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{AppName, EnvironmentName};
use crate::problem::Problem;

/// The environment that goes without saying.
pub(crate) const PRODUCTION: &str = "production";

/// An app in one environment. Prints `web` in production, else `web.staging`.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct AppKey {
    /// The app.
    pub app: AppName,
    /// The environment; `None` is production.
    environment: Option<EnvironmentName>,
}

impl AppKey {
    /// Checks both names; an empty environment is production.
    pub fn new(app: &str, environment: &str) -> Result<Self, Problem> {
        let environment = match environment {
            "" | PRODUCTION => None,
            other => Some(EnvironmentName::parse(other)?),
        };
        Ok(Self { app: AppName::parse(app)?, environment })
    }

    /// Name of the environment.
    pub fn environment(&self) -> &str {
        self.environment.as_ref().map_or(PRODUCTION, EnvironmentName::as_str)
    }
}

impl fmt::Display for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.environment {
            None => write!(f, "{}", self.app),
            Some(environment) => write!(f, "{}.{environment}", self.app),
        }
    }
}

impl FromStr for AppKey {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        match text.split_once('.') {
            None => Self::new(text, ""),
            Some((app, environment)) => Self::new(app, environment),
        }
    }
}

impl TryFrom<String> for AppKey {
    type Error = Problem;

    fn try_from(text: String) -> Result<Self, Problem> {
        text.parse()
    }
}

impl From<AppKey> for String {
    fn from(key: AppKey) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_what_it_prints() {
        for (app, environment, text) in
            [("web", "", "web"), ("web", "production", "web"), ("web", "staging", "web.staging")]
        {
            let key = AppKey::new(app, environment).unwrap();
            assert_eq!(key.to_string(), text);
            assert_eq!(text.parse::<AppKey>().unwrap(), key);
        }
        assert_eq!(AppKey::new("web", "").unwrap().environment(), "production");
    }
}
