//! From a branch, tag or commit id to a commit in a throw-away repository.

use std::{
    cell::Cell,
    path::Path,
    time::{Duration, Instant},
};

use git2::{
    AutotagOption, Commit, Direction, FetchOptions, Oid, RemoteCallbacks, RemoteHead,
    RemoteRedirect, Repository,
};

use crate::{Error, Progress, client::Session};

/// Our own reference, whatever the remote calls it.
const OURS: &str = "refs/slipway/fetched";
/// The shortest time between two reports of progress.
const EVERY: Duration = Duration::from_millis(100);

/// What is wanted of a repository.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Want<'a> {
    Default,
    /// A branch, else a tag, else a full commit id.
    Named(&'a str),
    /// The commit that a submodule is pinned to.
    Commit(Oid),
}

/// A commit that was fetched, without its history.
pub(crate) struct Fetched {
    pub(crate) repository: Repository,
    pub(crate) commit: Oid,
    pub(crate) branch: Option<String>,
    pub(crate) committed_at: u64,
}

/// Where the remote has what is wanted.
struct Place {
    source: String,
    branch: Option<String>,
}

/// Fetches one commit into a new repository in the folder `store`.
pub(crate) fn fetch(
    session: &Session,
    store: &Path,
    (url, want): (&str, Want<'_>),
    progress: &mut dyn FnMut(Progress),
) -> Result<Fetched, Error> {
    let failed = |error: git2::Error| session.failure(&error);
    let repository = Repository::init_bare(store).map_err(failed)?;
    let commit = {
        let mut remote = repository.remote("origin", url).map_err(failed)?;
        let place = {
            let callbacks = RemoteCallbacks::new();
            let connection =
                remote.connect_auth(Direction::Fetch, Some(callbacks), None).map_err(failed)?;
            locate(connection.list().map_err(failed)?, want)?
        };
        let too_many = Cell::new(None);
        let mut options = FetchOptions::new();
        options
            .remote_callbacks(callbacks(session, &too_many, progress))
            .depth(1)
            .download_tags(AutotagOption::None)
            .update_fetchhead(false)
            .follow_redirects(RemoteRedirect::None);
        let spec = format!("+{}:{OURS}", place.source);
        let result = remote.fetch(&[spec.as_str()], Some(&mut options), None);
        drop(options);
        if let Some(error) = too_many.take() {
            return Err(error);
        }
        if let Err(error) = result {
            return Err(match (session.failure(&error), want) {
                // The server knows the commit no more, or does not hand out single ones.
                (Error::Protocol(_), Want::Named(reference)) if place.is_commit() => {
                    Error::RefMissing { reference: reference.to_owned() }
                }
                (error, _) => error,
            });
        }
        let found = repository.find_reference(OURS).and_then(|it| it.peel_to_commit());
        let (commit, committed_at) = match (found, want) {
            (Ok(commit), _) => (commit.id(), committed_at(&commit)),
            (Err(_), Want::Named(reference)) => {
                return Err(Error::RefMissing { reference: reference.to_owned() });
            }
            (Err(error), _) => return Err(failed(error)),
        };
        (commit, committed_at, place.branch)
    };
    let (commit, committed_at, branch) = commit;
    Ok(Fetched { repository, commit, branch, committed_at })
}

impl Place {
    fn is_commit(&self) -> bool {
        !self.source.starts_with("refs/") && self.source != "HEAD"
    }
}

/// Finds what is wanted among the references of the remote.
fn locate(heads: &[RemoteHead<'_>], want: Want<'_>) -> Result<Place, Error> {
    if heads.is_empty() {
        return Err(Error::Empty);
    }
    let has = |name: &str| heads.iter().any(|it| it.name() == name);
    let branch_of = |name: &str| name.strip_prefix("refs/heads/").map(str::to_owned);
    match want {
        Want::Default => {
            let head = heads.iter().find(|it| it.name() == "HEAD").ok_or_else(|| {
                // Its default branch has no commit; others have.
                Error::RefMissing { reference: "HEAD".to_owned() }
            })?;
            let branch = head.symref_target().and_then(branch_of);
            Ok(Place { source: "HEAD".to_owned(), branch })
        }
        Want::Commit(commit) => Ok(at_commit(heads, commit.to_string())),
        Want::Named(name) => {
            let (branch, tag) = (format!("refs/heads/{name}"), format!("refs/tags/{name}"));
            if has(&branch) {
                return Ok(Place { branch: branch_of(&branch), source: branch });
            }
            if has(&tag) {
                return Ok(Place { source: tag, branch: None });
            }
            let is_commit = name.len() == 40 && name.bytes().all(|it| it.is_ascii_hexdigit());
            if !is_commit {
                return Err(Error::RefMissing { reference: name.to_owned() });
            }
            Ok(at_commit(heads, name.to_ascii_lowercase()))
        }
    }
}

/// Any server hands out what one of its references points to; a commit in between, not every one.
fn at_commit(heads: &[RemoteHead<'_>], commit: String) -> Place {
    let known = heads.iter().find(|it| it.oid().to_string() == commit);
    let known = known.map(|it| it.name().trim_end_matches("^{}").to_owned());
    Place { source: known.unwrap_or(commit), branch: None }
}

/// Callbacks that report, and that end the fetch when it has become too much or too late.
fn callbacks<'a>(
    session: &'a Session,
    failure: &'a Cell<Option<Error>>,
    progress: &'a mut dyn FnMut(Progress),
) -> RemoteCallbacks<'a> {
    let mut callbacks = RemoteCallbacks::new();
    let mut reported: Option<Instant> = None;
    callbacks.transfer_progress(move |stats| {
        let wide = |it: usize| u64::try_from(it).unwrap_or(u64::MAX);
        let (objects, total) = (wide(stats.received_objects()), wide(stats.total_objects()));
        let most = session.limits.objects;
        let late = session.check_time();
        let many = || Error::TooBig(format!("has more than {most} objects in one commit"));
        if let Err(error) = late.and_then(|()| if most < total { Err(many()) } else { Ok(()) }) {
            failure.set(Some(error));
            return false;
        }
        if objects == total || reported.is_none_or(|it| EVERY <= it.elapsed()) {
            reported = Some(Instant::now());
            let bytes = wide(stats.received_bytes());
            progress(Progress { objects, total_objects: total, bytes });
        }
        true
    });
    callbacks
}

fn committed_at(commit: &Commit<'_>) -> u64 {
    u64::try_from(commit.time().seconds()).unwrap_or_default()
}
