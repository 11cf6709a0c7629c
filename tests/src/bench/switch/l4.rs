//! A forwarder of connections: whatever nginx opens goes to the container that is current then.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpStream, UnixListener},
    task::JoinSet,
};

#[derive(Debug)]
struct Side {
    address: SocketAddr,
    open: AtomicU64,
}

/// Forwards connections.
pub(super) struct L4 {
    current: Arc<Mutex<Arc<Side>>>,
    sides: Vec<Arc<Side>>,
    _tasks: JoinSet<()>,
}

impl L4 {
    pub(super) fn start(socket: &Path, first: SocketAddr) -> anyhow::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let side = Arc::new(Side { address: first, open: AtomicU64::new(0) });
        let current = Arc::new(Mutex::new(Arc::clone(&side)));
        let mut tasks = JoinSet::new();
        let at = Arc::clone(&current);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let side = {
                    let side = at.lock().unwrap_or_else(PoisonError::into_inner);
                    side.open.fetch_add(1, Ordering::SeqCst);
                    Arc::clone(&side)
                };
                connections.spawn(async move {
                    if let Ok(mut app) = TcpStream::connect(side.address).await {
                        drop(app.set_nodelay(true));
                        drop(copy_bidirectional(&mut client, &mut app).await);
                    }
                    side.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Ok(Self { current, sides: vec![side], _tasks: tasks })
    }

    pub(super) fn flip(&mut self, to: SocketAddr) {
        let side = Arc::new(Side { address: to, open: AtomicU64::new(0) });
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&side);
        self.sides.push(side);
    }

    /// Connections to a container.
    pub(super) fn open(&self, to: SocketAddr) -> u64 {
        let them = self.sides.iter().filter(|it| it.address == to);
        them.map(|it| it.open.load(Ordering::SeqCst)).sum()
    }
}
