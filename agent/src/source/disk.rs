//! Whether there is room on the disk, asked before it is needed.

use std::path::Path;

use slipway_host::stats::{self, Disk};
use slipway_proto::problem::{Kind, Problem};

/// Refuses when less than `least`, or twice what is about to be written, is free below any of
/// `paths`.
///
/// # Errors
/// `SW-DISK-FULL`.
pub fn guard<'a>(
    paths: impl IntoIterator<Item = &'a Path>,
    least: u64,
    size: u64,
) -> Result<(), Problem> {
    let need = least.max(size.saturating_mul(2));
    for path in paths {
        // A path that cannot be asked is found out by whoever writes to it.
        let Ok(Disk { free, .. }) = stats::disk(path) else { continue };
        if free < need {
            let message = format!(
                "the disk of the server has {} MiB free, and {} MiB are needed",
                free >> 20,
                need >> 20
            );
            return Err(Problem::new(Kind::Exhausted, "SW-DISK-FULL", message)
                .hint("remove old releases or apps, or give the server a larger disk"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_twice_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let Disk { total, free } = stats::disk(dir.path()).unwrap();
        assert!(0 < free && free <= total);
        guard([dir.path()], 1, 1).unwrap();
        assert_eq!(guard([dir.path()], 1, total).unwrap_err().code, "SW-DISK-FULL");
        assert_eq!(guard([dir.path()], total + 1, 1).unwrap_err().code, "SW-DISK-FULL");
        guard([Path::new("/no/such/folder")], u64::MAX, 0).unwrap();
    }
}
