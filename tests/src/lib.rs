//! What the tests, the demo and the benchmarks stand on: real programs, real Docker, loopback only.
//!
//! * [`base`]: base images from Debian's packages, without a registry.
//! * [`docker`]: this machine's Docker, as far as fixtures need it.
//! * [`sample`]: the sample apps, and variants of them.
//! * [`git`]: a git server that speaks smart HTTP.
//! * [`registry`]: an image registry.
//! * [`process`]: programs in the background, with their logs, that end with their handle.
//! * [`lab`]: a control plane, an agent and a traffic switch of their own, driven through `slipway`.
//! * [`load`]: requests in closed and paced loops, each outcome counted.
//! * [`mod@bench`]: interleaved rounds, medians, the table and the JSON.
//! * [`demo`]: `make demo`.

pub mod base;
pub mod bench;
pub mod demo;
pub mod docker;
pub mod git;
pub mod lab;
pub mod load;
pub mod process;
pub mod registry;
pub mod sample;

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};

/// The folder of this workspace.
pub fn workspace() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    own.parent().map(PathBuf::from).unwrap_or(own)
}

/// A loopback address that nobody listens on right now, and that no client is given meanwhile: it lies
/// below the ports that the kernel gives to connections (32768 and up).
pub fn free_address() -> Result<SocketAddr> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..1_000 {
        // Each process begins elsewhere, and each call goes on.
        let step = std::process::id().wrapping_mul(61) + NEXT.fetch_add(1, Ordering::Relaxed) * 7;
        let port = 12_000 + u16::try_from(step % 7_000).context("a port fits")?;
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
        }
    }
    anyhow::bail!("there is no free port between 12000 and 19000")
}

/// An HTTP client that goes nowhere by itself: no proxy, and a TLS provider that it insists on.
pub fn http_client() -> Result<reqwest::Client> {
    // A second provider is refused, and is the same one.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder().no_proxy().build().context("make an HTTP client")
}
