//! Places where a test can kill the process, to show that any two lines may be the last ones.
//!
//! Without the feature `failpoints` the macro expands to nothing that runs. With it, the variable
//! `SLIPWAY_FAILPOINT` names the place at which the process aborts (`name` or `name:n` for its n-th
//! visit), and `SLIPWAY_FAILPOINT_LOG` a file to which each visited name is appended, so that a
//! test can find every place there is.

/// Marks a place before or after a durable write or an outside effect.
#[macro_export]
macro_rules! failpoint {
    ($name:expr) => {
        $crate::failpoint::reach($name)
    };
}

/// Does what the environment asks for at this place.
#[cfg(not(feature = "failpoints"))]
pub const fn reach(_name: &str) {}

/// Does what the environment asks for at this place.
#[cfg(feature = "failpoints")]
pub fn reach(name: &str) {
    use std::{
        io::Write as _,
        sync::{
            LazyLock,
            atomic::{AtomicU32, Ordering},
        },
    };

    struct Plan {
        at: Option<(String, u32)>,
        log: Option<std::path::PathBuf>,
        visits: AtomicU32,
    }
    #[expect(clippy::disallowed_methods, reason = "a switch of the tests, not configuration")]
    static PLAN: LazyLock<Plan> = LazyLock::new(|| Plan {
        at: std::env::var("SLIPWAY_FAILPOINT").ok().map(|it| match it.split_once(':') {
            Some((name, nth)) => (name.to_owned(), nth.parse().unwrap_or(1)),
            None => (it, 1),
        }),
        log: std::env::var_os("SLIPWAY_FAILPOINT_LOG").map(Into::into),
        visits: AtomicU32::new(0),
    });

    if let Some(path) = &PLAN.log
        && let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(path)
    {
        // A log that cannot be written shows as a missing name in the test that reads it.
        drop(writeln!(file, "{name}"));
    }
    if let Some((at, nth)) = &PLAN.at
        && at == name
        && PLAN.visits.fetch_add(1, Ordering::SeqCst) + 1 == *nth
    {
        std::process::abort();
    }
}
