//! Where an app runs, checked.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// The most containers that one route may name.
const MAX_TARGETS: usize = 64;
/// The longest app key and release name.
const MAX_NAME: usize = 128;

/// Where an app runs: one generation of it.
///
/// The generation tells routes of one app apart; the agent uses the number of the release. It may
/// go back, as when a deployment is undone. A route without targets is an app that is stopped: its
/// requests are answered with 503.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Tells this route from the others of the app.
    pub generation: u64,
    /// What the response header `Slipway-Release` says, for those who ask with `Slipway-Probe`.
    pub release: String,
    /// The containers, each by address and port.
    pub targets: Vec<SocketAddr>,
}

impl Route {
    /// Makes a route whose release is named by the generation's number.
    pub fn new(generation: u64, targets: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self { generation, release: generation.to_string(), targets: targets.into_iter().collect() }
    }

    /// Checks what comes from outside.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the field.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let invalid = |field, problem| Err(Error::Invalid { field, problem });
        if self.release.is_empty() || MAX_NAME < self.release.len() {
            return invalid("release", "must have 1 to 128 characters");
        }
        if !self.release.bytes().all(|it| it.is_ascii_graphic()) {
            return invalid("release", "must be visible ASCII");
        }
        if MAX_TARGETS < self.targets.len() {
            return invalid("targets", "must be 64 at most");
        }
        if self.targets.iter().any(|it| it.port() == 0 || it.ip().is_unspecified()) {
            return invalid("targets", "must each have an address and a port");
        }
        let mut unique = self.targets.clone();
        unique.sort_unstable();
        unique.dedup();
        if unique.len() != self.targets.len() {
            return invalid("targets", "must differ from each other");
        }
        Ok(())
    }
}

/// Checks the key of an app: `web`, `web.staging`.
pub(crate) fn check_app(app: &str) -> Result<(), Error> {
    let fine = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-' || it == b'.';
    if app.is_empty() || MAX_NAME < app.len() || !app.bytes().all(fine) || app.starts_with('.') {
        let problem = "must be 1 to 128 of a-z, 0-9, `-` and `.`";
        return Err(Error::Invalid { field: "app", problem });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(route: &Route, field: &str) {
        let error = route.check().unwrap_err().to_string();
        assert!(error.starts_with(&format!("`{field}`")), "{error}");
    }

    #[test]
    fn a_route_names_each_target_once() {
        let target: SocketAddr = "10.213.0.2:8080".parse().unwrap();
        Route::new(1, [target]).check().unwrap();
        Route::new(1, []).check().unwrap();
        refused(&Route::new(1, [target, target]), "targets");
        refused(&Route::new(1, ["10.213.0.2:0".parse().unwrap()]), "targets");
        refused(&Route::new(1, ["0.0.0.0:80".parse().unwrap()]), "targets");
        let many = (1..=65).map(|port| SocketAddr::new(target.ip(), port));
        refused(&Route::new(1, many), "targets");
    }

    #[test]
    fn a_release_cannot_break_a_header() {
        for release in ["", "a\r\nSet-Cookie: x", "a b", "é", &"x".repeat(129)] {
            let route = Route { release: release.to_owned(), ..Route::new(1, []) };
            refused(&route, "release");
        }
    }

    #[test]
    fn an_app_key_is_a_plain_word() {
        for app in ["web", "web.staging", "a-1"] {
            check_app(app).unwrap();
        }
        for app in ["", ".", "../x", "Web", "a/b", "a b", "a\n", &"x".repeat(129)] {
            check_app(app).unwrap_err();
        }
    }
}
