//! Our HTTP client as libgit2's way to the server. libgit2's own is not built in.

use std::{
    cell::RefCell,
    io::{self, Read, Write},
    mem,
    sync::{Arc, OnceLock},
};

use git2::{
    Config, ConfigLevel, ErrorClass, ErrorCode, Remote, opts,
    transport::{self, Service, SmartSubtransport, SmartSubtransportStream, Transport},
};
use reqwest::{
    RequestBuilder, Response, StatusCode,
    header::{CONTENT_TYPE, LOCATION},
};
use url::Url;

use crate::{Error, client::Session, error::escape};

/// The longest list of references.
const REFERENCES_BYTES: usize = 64 << 20;

thread_local! {
    /// Transports are registered once for the whole process and get no context: the session of the
    /// fetch that runs on this thread is found here.
    static SESSION: RefCell<Option<Arc<Session>>> = const { RefCell::new(None) };
}

/// The session that transports made on this thread use, for as long as this is held.
pub(crate) struct Entered;

/// Makes `session` the one of this thread.
pub(crate) fn enter(session: &Arc<Session>) -> Result<Entered, Error> {
    static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();
    INSTALLED
        .get_or_init(|| install().map_err(|error| error.message().to_owned()))
        .clone()
        .map_err(|text| Error::write(io::Error::other(text)))?;
    SESSION.set(Some(Arc::clone(session)));
    Ok(Entered)
}

impl Drop for Entered {
    fn drop(&mut self) {
        SESSION.set(None);
    }
}

/// Sets libgit2 up for this process: our transport, no configuration of the machine, little memory.
#[expect(unsafe_code, reason = "libgit2's settings are global; see the safety comment")]
fn install() -> Result<(), git2::Error> {
    const NO_FOLDER: &str = "";
    const CACHE_BYTES: isize = 16 << 20;
    const WINDOW_BYTES: usize = 16 << 20;
    const WINDOWS_BYTES: usize = 128 << 20;
    // Makes libgit2 initialize itself before its settings are touched.
    drop(Config::new()?);
    // SAFETY: these settings must not change while another thread uses libgit2. This crate is its
    // only user in our programs, every use goes through `enter`, and `enter` lets none go on before
    // this function, run once under a lock, has ended.
    unsafe {
        for scheme in ["https", "http"] {
            transport::register(scheme, connect)?;
        }
        let levels =
            [ConfigLevel::System, ConfigLevel::Global, ConfigLevel::XDG, ConfigLevel::ProgramData];
        for level in levels {
            opts::set_search_path(level, NO_FOLDER)?;
        }
        opts::set_cache_max_size(CACHE_BYTES)?;
        opts::set_mwindow_size(WINDOW_BYTES)?;
        opts::set_mwindow_mapped_limit(WINDOWS_BYTES)
    }
}

fn connect(remote: &Remote<'_>) -> Result<Transport, git2::Error> {
    match SESSION.with_borrow(Clone::clone) {
        Some(session) => Transport::smart(remote, true, Line(session)),
        None => Err(refuse("no fetch is running on this thread")),
    }
}

fn refuse(why: &str) -> git2::Error {
    git2::Error::new(ErrorCode::GenericError, ErrorClass::Http, why)
}

/// The line to a server.
struct Line(Arc<Session>);

impl SmartSubtransport for Line {
    fn action(
        &self,
        url: &str,
        action: Service,
    ) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let http = &self.0.http;
        let base = url.trim_end_matches('/');
        let url = Url::parse(base).map_err(|_| refuse("not a URL"))?;
        let (request, kind) = match action {
            Service::UploadPackLs => {
                let request = http.get(format!("{base}/info/refs?service=git-upload-pack"));
                (request, "application/x-git-upload-pack-advertisement")
            }
            Service::UploadPack => {
                let request = http
                    .post(format!("{base}/git-upload-pack"))
                    .header(CONTENT_TYPE, "application/x-git-upload-pack-request");
                (request, "application/x-git-upload-pack-result")
            }
            Service::ReceivePackLs | Service::ReceivePack => {
                return Err(refuse("nothing is pushed"));
            }
        };
        let login = self.0.login(&url);
        let has_token = login.is_some();
        let request = match login {
            Some((user, token)) => request.basic_auth(user, Some(token)),
            None => request,
        };
        let is_list = matches!(action, Service::UploadPackLs);
        Ok(Box::new(Exchange {
            session: Arc::clone(&self.0),
            kind,
            has_token,
            left: if is_list { REFERENCES_BYTES } else { usize::MAX },
            body: Vec::new(),
            state: State::Asking(request),
        }))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// One request and its answer.
struct Exchange {
    session: Arc<Session>,
    /// The type that the answer must have.
    kind: &'static str,
    has_token: bool,
    /// Bytes that the answer may still have.
    left: usize,
    body: Vec<u8>,
    state: State,
}

enum State {
    Asking(RequestBuilder),
    Reading(Response, bytes::Bytes),
    Over,
}

impl Exchange {
    /// Reads the next part of the answer; empty at its end.
    fn next(&mut self) -> Result<bytes::Bytes, Error> {
        let mut response = match mem::replace(&mut self.state, State::Over) {
            State::Asking(request) => self.ask(request)?,
            State::Reading(response, _) => response,
            State::Over => return Ok(bytes::Bytes::new()),
        };
        let Some(part) = self.session.wait(response.chunk())? else {
            return Ok(bytes::Bytes::new());
        };
        self.session.receive(part.len())?;
        self.left = self.left.checked_sub(part.len()).ok_or_else(|| {
            Error::TooBig(format!("lists more than {REFERENCES_BYTES} bytes of branches and tags"))
        })?;
        self.state = State::Reading(response, part.clone());
        Ok(part)
    }

    fn ask(&mut self, request: RequestBuilder) -> Result<Response, Error> {
        let request = match mem::take(&mut self.body) {
            body if body.is_empty() => request,
            body => request.body(body),
        };
        let response = self.session.wait(request.send())?;
        let status = response.status();
        let header = |name| response.headers().get(name).and_then(|it| it.to_str().ok());
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(Error::Auth { given: self.has_token })
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(Error::NotFound),
            _ if status.is_redirection() => {
                Err(Error::Redirect { to: header(LOCATION).and_then(shown) })
            }
            StatusCode::OK if header(CONTENT_TYPE) == Some(self.kind) => Ok(response),
            StatusCode::OK => Err(Error::Protocol("it answers with something else".to_owned())),
            _ => Err(Error::Server { status: status.as_u16() }),
        }
    }
}

/// Where a redirect leads, without what may be secret and without the parts that git appends.
fn shown(location: &str) -> Option<String> {
    let mut url = Url::parse(location).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    let text = url.as_str().trim_end_matches("/info/refs");
    Some(escape(text.as_bytes()))
}

impl Write for Exchange {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.body.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Exchange {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut part = match &mut self.state {
            State::Reading(_, part) => mem::take(part),
            State::Asking(_) | State::Over => bytes::Bytes::new(),
        };
        while part.is_empty() {
            part = self.next().map_err(|error| self.session.fail(error))?;
            if matches!(self.state, State::Over) {
                return Ok(0);
            }
        }
        let count = part.len().min(out.len());
        let given = part.split_to(count);
        if let Some(out) = out.get_mut(..count) {
            out.copy_from_slice(&given);
        }
        if let State::Reading(_, rest) = &mut self.state {
            *rest = part;
        }
        Ok(count)
    }
}
