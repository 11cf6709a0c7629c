//! All of it: one commit of one repository, and of its submodules, as files.

use std::sync::Arc;

use slipway_proto::value::{GitRef, GitUrl};
use tokio_util::sync::CancellationToken;

use crate::{
    Checkout, Error, Progress, Request,
    checkout::{Gitlink, Writer, discard},
    client::Session,
    error::escape,
    module,
    remote::{self, Fetched, Want},
    transport,
};

/// The longest `.gitmodules`.
const GITMODULES_BYTES: u64 = 256 << 10;
/// How deep submodules may have submodules.
const NESTING: usize = 4;

/// Fetches the commit and writes its files, without `.git`. Blocks: call it on a blocking thread.
/// `stop` ends it within a moment, as does the deadline. Leaves nothing behind when it fails.
pub fn clone(
    request: &Request,
    progress: &mut dyn FnMut(Progress),
    stop: &CancellationToken,
) -> Result<Checkout, Error> {
    let session = Arc::new(Session::new(request, stop)?);
    let result = {
        let _entered = transport::enter(&session)?;
        let result = run(&session, request, progress);
        if result.is_err() {
            discard(&request.into);
        }
        result
    };
    if let Ok(session) = Arc::try_unwrap(session) {
        session.close();
    }
    result
}

fn run(
    session: &Session,
    request: &Request,
    progress: &mut dyn FnMut(Progress),
) -> Result<Checkout, Error> {
    let want =
        request.reference.as_ref().map_or(Want::Default, |it| Want::Named(GitRef::as_str(it)));
    let mut writer = Writer::new(session, &request.into)?;
    let store = tempfile::tempdir_in(writer.beside()).map_err(Error::write)?;
    let fetched = remote::fetch(session, store.path(), (request.url.as_str(), want), progress)?;
    let mut modules =
        Modules { session, progress, left: session.limits.submodules, warnings: Vec::new() };
    modules.write(&mut writer, (&fetched, &request.url), "", NESTING)?;
    let warnings = modules.warnings;
    let files = writer.finish()?;
    let Fetched { commit, branch, committed_at, .. } = fetched;
    Ok(Checkout { commit: commit.to_string(), branch, committed_at, files, warnings })
}

struct Modules<'a> {
    session: &'a Session,
    progress: &'a mut dyn FnMut(Progress),
    left: u64,
    warnings: Vec<String>,
}

impl Modules<'_> {
    /// Writes a fetched commit beneath `prefix`, then its submodules.
    fn write(
        &mut self,
        writer: &mut Writer<'_>,
        (fetched, url): (&Fetched, &GitUrl),
        prefix: &str,
        nesting: usize,
    ) -> Result<(), Error> {
        let gitlinks = writer.commit(&fetched.repository, fetched.commit, prefix)?;
        if gitlinks.is_empty() {
            return Ok(());
        }
        let gitmodules = self.gitmodules(fetched)?;
        for gitlink in gitlinks {
            self.one(writer, (&gitlink, url, &gitmodules), prefix, nesting)?;
        }
        Ok(())
    }

    fn one(
        &mut self,
        writer: &mut Writer<'_>,
        (gitlink, parent, gitmodules): (&Gitlink, &GitUrl, &str),
        prefix: &str,
        nesting: usize,
    ) -> Result<(), Error> {
        let shown = escape(gitlink.path.as_bytes());
        let refuse = |reason: String| Error::Submodule { path: shown.clone(), reason };
        let inner = gitlink.path.strip_prefix(prefix).unwrap_or(&gitlink.path);
        let Some(address) = module::address(gitmodules, inner.trim_start_matches('/')) else {
            self.warnings.push(format!("`{shown}` is a submodule without an address; it is empty"));
            return Ok(());
        };
        let Some(nesting) = nesting.checked_sub(1) else {
            return Err(refuse("submodules are nested too deep".to_owned()));
        };
        self.left =
            self.left.checked_sub(1).ok_or_else(|| refuse("there are too many".to_owned()))?;
        let url = module::resolve(parent, address).map_err(refuse)?;
        self.session.check(&url).map_err(|error| refuse(error.to_string()))?;
        let store = tempfile::tempdir_in(writer.beside()).map_err(Error::write)?;
        let want = Want::Commit(gitlink.commit);
        let fetched =
            remote::fetch(self.session, store.path(), (url.as_str(), want), self.progress)
                .map_err(|error| match error {
                    // These are not the submodule's fault.
                    Error::Canceled
                    | Error::Timeout { .. }
                    | Error::TooBig(_)
                    | Error::Write { .. } => error,
                    error => refuse(error.to_string()),
                })?;
        self.write(writer, (&fetched, &url), &gitlink.path, nesting)
    }

    /// Text of `.gitmodules`; empty when there is none.
    fn gitmodules(&self, fetched: &Fetched) -> Result<String, Error> {
        let failed = |error: git2::Error| self.session.failure(&error);
        let repository = &fetched.repository;
        let tree =
            repository.find_commit(fetched.commit).and_then(|it| it.tree()).map_err(failed)?;
        let Some(entry) = tree.get_name(".gitmodules") else { return Ok(String::new()) };
        let odb = repository.odb().map_err(failed)?;
        let (size, _) = odb.read_header(entry.id()).map_err(failed)?;
        if GITMODULES_BYTES < u64::try_from(size).unwrap_or(u64::MAX) {
            return Err(Error::TooBig("has a `.gitmodules` of more than 256 KiB".to_owned()));
        }
        let object = odb.read(entry.id()).map_err(failed)?;
        Ok(String::from_utf8_lossy(object.data()).into_owned())
    }
}
