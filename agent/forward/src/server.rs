//! The process: its sockets, its tasks, its start and its end.

use std::{
    convert::Infallible,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwapOption;
use http::{HeaderValue, header::CONNECTION};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use sd_notify::NotifyState;
use slipway_host::Chain;
use tokio::{
    net::{UnixListener, UnixStream},
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::{
    Client, Error, control, handover,
    relay::{self, Tasks},
    table::Table,
};

/// How long a connection that has nothing to do may stay once the process is ending. nginx closes
/// such a connection itself after one second; if we did, it could be just when nginx uses it.
const LINGER: Duration = Duration::from_secs(2);
/// Time between two looks for idle connections.
const SWEEP: Duration = Duration::from_millis(500);
/// Pause after an accept that failed, such as for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(50);
/// How long answers on the control socket may take at the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a switch has to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Data socket, for nginx. Bound unless the standard input is a listening socket.
    pub listen: PathBuf,
    /// Permissions of the data socket when it is bound here; nginx's workers must be able to write.
    pub listen_mode: u32,
    /// Control socket, for the agent: a symbolic link to the socket of the process in charge.
    pub control: PathBuf,
    /// The table.
    pub state: PathBuf,
    /// How long open requests may take once the process is ending.
    pub grace: Duration,
    /// What to start at SIGUSR2: program and arguments. Empty: this program as it was started.
    pub successor: Vec<OsString>,
    /// Private control socket of the process that hands over to this one. None: look into the
    /// environment, where a process that hands over puts it.
    pub predecessor: Option<PathBuf>,
}

impl Config {
    /// A switch that keeps its sockets in `run` and its table in `state`, with the usual limits.
    pub fn new(run: &Path, state: &Path) -> Self {
        Self {
            listen: run.join("proxy.sock"),
            listen_mode: 0o666,
            control: run.join("proxy-control.sock"),
            state: state.join("routes"),
            grace: Duration::from_secs(30),
            successor: Vec::new(),
            predecessor: None,
        }
    }
}

/// What the tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) table: Table,
    pub(crate) tasks: Tasks,
    /// Accept no more, finish what is open.
    pub(crate) stop: CancellationToken,
    /// Nothing is open any more; end the rest.
    pub(crate) end: CancellationToken,
    /// Whether to accept, and whether that is so.
    accept: watch::Sender<bool>,
    accepting: watch::Sender<bool>,
    /// Where the data socket is.
    socket: PathBuf,
    predecessor: ArcSwapOption<Client>,
}

impl Shared {
    /// Stops accepting, and passes on what still comes. Returns when both are so.
    pub(crate) async fn retire(&self) {
        self.accept.send_replace(false);
        // Fails only when the accepting task is gone, which is as good.
        drop(self.accepting.subscribe().wait_for(|it| !*it).await);
        self.table.hand_over(self.socket.clone());
        info!("handed over");
    }

    /// Takes traffic back from a successor that died.
    fn take_back(&self) {
        if let Err(error) = self.table.take_back() {
            error!(error = %Chain(&error), "could not read the table again");
        }
        self.accept.send_replace(true);
    }

    /// Asks the older process, if one still lives.
    pub(crate) async fn predecessor<T, F>(&self, ask: impl FnOnce(Arc<Client>) -> F) -> Option<T>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let client = self.predecessor.load_full()?;
        match ask(client).await {
            Ok(it) => Some(it),
            Err(Error::Unreachable { .. }) => {
                info!("the older process has ended");
                self.predecessor.store(None);
                None
            }
            Err(error) => {
                warn!(error = %Chain(&error), "the older process did not answer");
                None
            }
        }
    }
}

/// A running switch.
#[derive(Debug)]
pub struct Forwarder {
    shared: Arc<Shared>,
    config: Config,
    /// This process's own control socket, to which [`Config::control`] points.
    private: PathBuf,
    listener: Arc<UnixListener>,
    bound: bool,
}

impl Forwarder {
    /// Starts a switch on `inherited`, or on a socket that it binds. When this returns it serves.
    ///
    /// # Errors
    /// When a socket cannot be had, when another switch is in charge, when the table was written by
    /// a newer version.
    pub async fn start(
        config: Config,
        inherited: Option<std::os::unix::net::UnixListener>,
    ) -> Result<Self, Error> {
        let older = config.predecessor.clone().map(|it| Client::new(it).patience(Duration::ZERO));
        if older.is_none() {
            handover::refuse_second(&config.control).await?;
        }
        let bound = inherited.is_none();
        let (listener, socket) = match inherited {
            Some(listener) => handover::adopt(listener, &config.listen)?,
            None => (handover::bind(&config.listen, config.listen_mode)?, config.listen.clone()),
        };
        if let Some(older) = &older {
            // From here on the older one changes nothing, so what is on disk is the truth.
            older.retire().await?;
        }
        let shared = Arc::new(Shared {
            table: Table::open(config.state.clone())?,
            tasks: Tasks::default(),
            stop: CancellationToken::new(),
            end: CancellationToken::new(),
            accept: watch::Sender::new(true),
            accepting: watch::Sender::new(true),
            socket,
            predecessor: ArcSwapOption::new(older.map(Arc::new)),
        });
        let listener = Arc::new(listener);
        let service = &shared.tasks.service;
        service.spawn(accept(Arc::clone(&shared), Arc::clone(&listener)));
        service.spawn(sweep(Arc::clone(&shared)));
        let (answering, private) = handover::bind_control(&config.control)?;
        service.spawn(control::serve::accept(Arc::clone(&shared), answering));
        handover::point(&config.control, &private)?;
        info!(listen = %shared.socket.display(), control = %config.control.display(), "serving");
        Ok(Self { shared, config, private, listener, bound })
    }

    /// Starts the next version of this program and hands everything over to it. Returns its process
    /// id; this one then only finishes what is open, see [`Forwarder::finish`].
    ///
    /// # Errors
    /// [`Error::Successor`] when it does not come up; this process then goes on as before.
    pub async fn hand_over(&self) -> Result<u32, Error> {
        let started = handover::start_successor(&self.config, &self.listener, &self.private);
        let outcome = match started {
            Ok(child) => {
                handover::await_successor(child, &self.config.control, &self.private).await
            }
            Err(error) => Err(error),
        };
        if outcome.is_err() && self.shared.table.handed_over() {
            self.shared.take_back();
        }
        outcome
    }

    /// Stops accepting, lets what is open end within the grace, and cuts the rest. Returns how many
    /// connections that were.
    pub async fn finish(self) -> usize {
        let Self { shared, config, private, listener, bound } = self;
        let handed_over = shared.table.handed_over();
        shared.stop.cancel();
        drop(listener);
        if bound && !handed_over {
            drop(slipway_host::fs::remove(&config.listen));
        }
        let open = &shared.tasks.open;
        open.close();
        let mut left = 0;
        let done = async {
            open.wait().await;
            // The successor reaches an even older process only through this one.
            while handed_over
                && shared.predecessor(|it| async move { it.ping().await }).await.is_some()
            {
                sleep(PAUSE).await;
            }
        };
        if timeout(config.grace, done).await.is_err() {
            left = open.len();
            warn!(left, "grace is over; cutting what is left");
        }
        shared.table.cut_all();
        handover::unpoint(&config.control, &private);
        shared.end.cancel();
        let service = &shared.tasks.service;
        service.close();
        if timeout(LAST_WORDS, service.wait()).await.is_err() {
            debug!(left = service.len(), "some tasks did not end");
        }
        left
    }
}

#[cfg(test)]
impl Forwarder {
    /// This process's own control socket.
    pub(crate) fn private(&self) -> &Path {
        &self.private
    }

    /// The data socket, as a successor would find it.
    pub(crate) fn inheritance(&self) -> std::os::unix::net::UnixListener {
        use std::os::fd::AsFd as _;
        self.listener.as_fd().try_clone_to_owned().unwrap().into()
    }

    /// What the tasks share.
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }
}

/// Runs a switch until SIGTERM or SIGINT, or until a successor took over after SIGUSR2.
///
/// # Errors
/// Those of [`Forwarder::start`].
pub async fn run(mut config: Config) -> Result<(), Error> {
    let watch = |kind| signal(kind).map_err(|source| Error::Signals { source });
    let mut terminate = watch(SignalKind::terminate())?;
    let mut interrupt = watch(SignalKind::interrupt())?;
    let mut upgrade = watch(SignalKind::user_defined2())?;
    config.predecessor = config.predecessor.or_else(handover::predecessor);
    let forwarder = Forwarder::start(config, handover::inherited()?).await?;
    notify(&[NotifyState::Ready]);
    let mut watchdog = interval(sd_notify::watchdog_enabled().map_or(Duration::MAX, |it| it / 2));
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = watchdog.tick() => notify(&[NotifyState::Watchdog]),
            _ = upgrade.recv() => match forwarder.hand_over().await {
                Ok(pid) => {
                    notify(&[NotifyState::MainPid(pid)]);
                    forwarder.finish().await;
                    return Ok(());
                }
                Err(error) => error!(error = %Chain(&error), "going on with this version"),
            },
        }
    }
    notify(&[NotifyState::Stopping]);
    info!("ending");
    forwarder.finish().await;
    Ok(())
}

/// Tells systemd, if it started us.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "could not tell systemd");
    }
}

async fn accept(shared: Arc<Shared>, listener: Arc<UnixListener>) {
    let mut wanted = shared.accept.subscribe();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            it = wanted.wait_for(|it| !*it) => {
                if it.is_err() {
                    return;
                }
                Err(io::Error::from(io::ErrorKind::Interrupted))
            }
            it = listener.accept() => it,
        };
        match accepted {
            Ok((stream, _)) => {
                shared.tasks.open.spawn(connection(Arc::clone(&shared), stream));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                shared.accepting.send_replace(false);
                tokio::select! {
                    () = shared.stop.cancelled() => return,
                    it = wanted.wait_for(|it| *it) => if it.is_err() { return },
                }
                shared.accepting.send_replace(true);
            }
            Err(error) => {
                error!(%error, "could not accept");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Serves one connection of nginx.
async fn connection(shared: Arc<Shared>, stream: UnixStream) {
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move {
            let mut response = relay::relay(&shared.table, &shared.tasks, request).await;
            let leaving = shared.stop.is_cancelled() || shared.table.handed_over();
            if leaving && !response.headers().contains_key(CONNECTION) {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .preserve_header_case(true)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let leave = async {
        shared.stop.cancelled().await;
        sleep(LINGER).await;
    };
    let ended = tokio::select! {
        it = connection.as_mut() => it,
        () = leave => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                it = connection => it,
                () = shared.end.cancelled() => return,
            }
        }
        () = shared.end.cancelled() => return,
    };
    if let Err(error) = ended {
        debug!(%error, "a connection of nginx broke");
    }
}

/// Closes connections to containers that were idle for too long.
async fn sweep(shared: Arc<Shared>) {
    let mut tick = interval(SWEEP);
    loop {
        tokio::select! {
            () = shared.end.cancelled() => return,
            _ = tick.tick() => shared.table.sweep(),
        }
    }
}
