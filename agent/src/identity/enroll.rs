//! Trades a join token for an identity.
//!
//! The key is on disk before the token is shown, and the identity is on disk before the token's
//! file goes, so that a crash anywhere is followed by a repetition that ends the same way: the
//! control plane gives the same answer to the same key.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rand::RngExt as _;
use rustls::pki_types::CertificateDer;
use serde::Deserialize;
use slipway_host::{Secret, failpoint, fs};
use slipway_proto::{
    control::v1::{
        EnrollRequest, EnrollResponse, enrollment_service_client::EnrollmentServiceClient,
    },
    problem::{Kind, Problem},
    token::JoinToken,
};
use slipway_transport::{
    CONTROL_NAME, Certificate, Channel,
    channel::unary,
    tls::{ClientTls, pin_of},
};

use super::{
    Error, Home, Keys, Saved,
    home::{Names, file},
    renew::Key,
};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const JOIN_FILE_LIMIT: u64 = 4096;

/// Where to join, and with what.
#[derive(Clone, Debug)]
pub struct Join {
    /// Address and port of the control plane.
    pub control: String,
    /// The token.
    pub token: JoinToken,
    /// The file that they come from; removed once the identity is on disk.
    pub file: Option<PathBuf>,
}

/// What the agent says of itself when it joins.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Version of the agent.
    pub agent_version: String,
    /// Number of the droplet; 0: not a droplet.
    pub droplet_id: u64,
    /// Kernel's boot id.
    pub boot_id: String,
    /// Host name, for people.
    pub hostname: String,
    /// Address and port at which the agent listens; a missing host means the one that it calls
    /// from.
    pub listen: String,
}

/// A machine that did not join.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The control plane said no, or the token or its file is wrong. Trying again does not help.
    #[error("could not join")]
    Final(#[source] Problem),
    /// The identity cannot be kept.
    #[error("could not keep the identity")]
    Own(#[source] Error),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinFile {
    control: String,
    token: String,
}

impl Join {
    /// Joins with a token given by hand.
    ///
    /// # Errors
    /// SW-ENROLL-TOKEN when it is not a join token.
    pub fn new(control: impl Into<String>, token: &str) -> Result<Self, Problem> {
        let token = JoinToken::parse(token.trim())?;
        Ok(Self { control: control.into(), token, file: None })
    }

    /// Reads `join.json`: `{"control": "host:port", "token": "SWJ1-…"}`. None: there is no file.
    ///
    /// # Errors
    /// SW-ENROLL-FILE when it cannot be read, SW-ENROLL-TOKEN.
    pub fn read(path: &Path) -> Result<Option<Self>, Problem> {
        let broken = |why: String| {
            let message = format!("`{}` {why}", path.display());
            Problem::new(Kind::Invalid, "SW-ENROLL-FILE", message)
                .hint("it must be {\"control\": \"host:port\", \"token\": \"SWJ1-…\"}")
        };
        let bytes = fs::read_limited(path, JOIN_FILE_LIMIT)
            .map_err(|error| broken(format!("cannot be read: {error}")))?;
        let Some(bytes) = bytes.map(Secret::new) else { return Ok(None) };
        // The parser's own words could quote the token.
        let JoinFile { control, token } = serde_json::from_slice(bytes.expose())
            .map_err(|it| broken(format!("is wrong at line {}", it.line())))?;
        let token = JoinToken::parse(Secret::new(token).expose())?;
        Ok(Some(Self { control, token, file: Some(path.to_owned()) }))
    }
}

/// Joins, and keeps the identity in the state folder; waits for a control plane that cannot be
/// reached. A machine that has an identity already keeps it, unless it was given to another
/// droplet.
///
/// # Errors
/// See [`Refused`].
pub async fn enroll(state_dir: &Path, join: &Join, about: &About) -> Result<Saved, Refused> {
    let home = Home::open(state_dir).map_err(Refused::Own)?;
    if let Some(saved) = home.load().map_err(Refused::Own)? {
        let other = |a: u64, b: u64| a != 0 && b != 0 && a != b;
        if !other(saved.droplet_id, about.droplet_id) {
            remove_file(join).map_err(Refused::Own)?;
            return Ok(saved);
        }
        tracing::warn!(
            was = saved.droplet_id,
            is = about.droplet_id,
            "the identity belongs to another droplet; joining anew"
        );
        home.set_aside().map_err(Refused::Own)?;
    }
    let key = pending_key(&home).map_err(Refused::Own)?;
    let answer = ask(join, about, &key).await.map_err(Refused::Final)?;
    keep(&home, join, about, &key, answer).map_err(Refused::Own)
}

/// The key of an enrollment that was begun before, or a new one.
fn pending_key(home: &Home) -> Result<Key, Error> {
    if let Some(kept) = home.pending()? {
        match Key::read(kept) {
            Ok(key) => return Ok(key),
            Err(error) => {
                let error = slipway_host::Chain(&error);
                tracing::warn!(%error, "the key of an earlier attempt is broken; making another");
            }
        }
    }
    let key = Key::new()?;
    home.set_pending(&key)?;
    failpoint!("enroll.key-saved");
    Ok(key)
}

/// Asks until there is an answer that no repetition would change.
async fn ask(join: &Join, about: &About, key: &Key) -> Result<EnrollResponse, Problem> {
    let tls = ClientTls::pinned(join.token.pin().clone());
    let channel = Channel::tls(&join.control, CONTROL_NAME, tls)?;
    let request = EnrollRequest {
        token: join.token.expose(),
        csr_der: key.request().map_err(|it| Problem::internal(it.to_string()))?.into(),
        agent_version: about.agent_version.clone(),
        droplet_id: about.droplet_id,
        boot_id: about.boot_id.clone(),
        hostname: about.hostname.clone(),
        listen: about.listen.clone(),
    };
    let mut client = EnrollmentServiceClient::new(channel);
    let mut pause = FIRST_PAUSE;
    loop {
        let problem = match client.enroll(unary(request.clone())).await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) => Problem::from_status(&status),
        };
        if !worth_repeating(&problem) {
            return Err(problem);
        }
        tracing::warn!(%problem, ?pause, "could not join yet; trying again");
        // The generator is of this thread and must not be held over the wait.
        let wait = pause.mul_f64(rand::rng().random_range(0.5..1.0));
        tokio::time::sleep(wait).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

fn worth_repeating(problem: &Problem) -> bool {
    match problem.kind {
        Kind::Unavailable | Kind::Timeout | Kind::Exhausted | Kind::Canceled | Kind::Internal => {
            true
        }
        Kind::Invalid
        | Kind::Unauthenticated
        | Kind::Denied
        | Kind::NotFound
        | Kind::Exists
        | Kind::Conflict
        | Kind::Fenced => false,
    }
}

fn keep(
    home: &Home,
    join: &Join,
    about: &About,
    key: &Key,
    answer: EnrollResponse,
) -> Result<Saved, Error> {
    let EnrollResponse { agent_id, chain_der, ca_der, accepted_keys, server_name, install } =
        answer;
    let certificates = |list: Vec<bytes::Bytes>| {
        list.into_iter().map(|it| CertificateDer::from(it.to_vec())).collect::<Vec<_>>()
    };
    let (chain, roots) = (certificates(chain_der), certificates(ca_der));
    let leaf = chain.first().and_then(|it| Certificate::parse(it).ok());
    if leaf.is_none_or(|it| it.spki_sha256 != key.spki_sha256()) {
        return Err(Error::Answer("its certificate is for another key"));
    }
    let pinned = |it: &CertificateDer<'_>| pin_of(it).is_ok_and(|pin| pin == *join.token.pin());
    if !roots.iter().any(pinned) {
        return Err(Error::Answer("its roots do not have the pin of the token"));
    }
    let names = Names { server_name, control: join.control.clone(), droplet_id: about.droplet_id };
    let saved = Saved::new(key, &chain, &roots, names)?;
    if saved.agent_id != agent_id || saved.install != install {
        return Err(Error::Answer("its certificate is for another agent"));
    }
    Keys::load(home)?.replace(&accepted_keys)?;
    failpoint!("enroll.before-save");
    home.save(&saved)?;
    failpoint!("enroll.saved");
    home.clear_pending()?;
    remove_file(join)?;
    failpoint!("enroll.done");
    Ok(saved)
}

fn remove_file(join: &Join) -> Result<(), Error> {
    let Some(path) = &join.file else { return Ok(()) };
    fs::remove(path).map_err(file("remove", path))?;
    match path.parent() {
        Some(dir) => fs::sync_dir(dir).map_err(file("sync", dir)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_file_is_read_and_a_broken_one_is_told_without_its_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("join.json");
        assert!(Join::read(&path).unwrap().is_none());
        let token = format!("SWJ1-{}-{}-{}", "A".repeat(26), "B".repeat(8), "C".repeat(26));
        std::fs::write(&path, format!(r#"{{"control":"h:1","token":"{token}"}}"#)).unwrap();
        let join = Join::read(&path).unwrap().unwrap();
        assert_eq!((join.control.as_str(), join.token.expose()), ("h:1", token.clone()));
        assert!(!format!("{join:?}").contains("CCCC"));
        for (text, code) in [
            (format!(r#"{{"control":"h:1","token":"{token}x"}}"#), "SW-ENROLL-TOKEN"),
            (format!(r#"{{"control":"h:1","token":"{token}","more":1}}"#), "SW-ENROLL-FILE"),
            (format!(r#"{{"token":"{token}"}}"#), "SW-ENROLL-FILE"),
            (format!("[{token}]"), "SW-ENROLL-FILE"),
            (" ".repeat(5000), "SW-ENROLL-FILE"),
        ] {
            std::fs::write(&path, text).unwrap();
            let problem = Join::read(&path).unwrap_err();
            assert_eq!(problem.code, code);
            assert!(!problem.to_string().contains("CCCC"), "{problem}");
        }
    }
}
