//! The table on disk: one line with format and checksum, then JSON. The one before stays beside it.

use std::{collections::BTreeMap, io, path::Path};

use serde::{Deserialize, Serialize};
use slipway_host::{Chain, failpoint, fs};
use tracing::{error, warn};

use crate::{Error, Route};

/// First word of the file.
const MAGIC: &str = "slipway-forward";
/// Format that this version writes.
const FORMAT: u32 = 1;
/// More than any real table; a longer file is not ours.
const MAX_BYTES: u64 = 16 << 20;

/// Routes by app.
pub(crate) type Routes = BTreeMap<String, Route>;

/// What was found on disk at the start.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Restored {
    /// There was no file: this is the first start.
    #[default]
    New,
    /// The table of the last change.
    Loaded,
    /// The file was damaged; the one before it is in force, so the last change is missing.
    Previous,
    /// Both were damaged; the table is empty until the agent sets the routes again.
    Lost,
}

/// Why a file is no table.
#[derive(Debug, thiserror::Error)]
enum Damage {
    #[error("not a table")]
    Foreign,
    #[error("format {0} is newer than {FORMAT}")]
    Newer(u32),
    #[error("the checksum is wrong")]
    Checksum,
    #[error("the content is wrong")]
    Content(#[source] serde_json::Error),
    #[error("a route is wrong")]
    Route(#[source] Error),
}

/// Writes the table. After a crash the file holds either the old or the new one.
pub(crate) fn save(path: &Path, routes: &Routes) -> Result<(), Error> {
    let persist = |source| Error::Persist { path: path.to_owned(), source };
    let json = serde_json::to_vec(routes).map_err(|it| persist(it.into()))?;
    let mut bytes = format!("{MAGIC} {FORMAT} {:08x}\n", crc32fast::hash(&json)).into_bytes();
    bytes.extend_from_slice(&json);
    keep_previous(path).map_err(persist)?;
    failpoint!("forward.before-save");
    fs::replace(path, &bytes, 0o600).map_err(persist)?;
    failpoint!("forward.after-save");
    Ok(())
}

/// Gives the file in force a second name, under which it survives being replaced.
fn keep_previous(path: &Path) -> io::Result<()> {
    let previous = path.with_extension("previous");
    fs::remove(&previous)?;
    match std::fs::hard_link(path, &previous) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Reads the table, or as much as is left of it. A damaged file is never overwritten silently: it is
/// set aside and reported.
pub(crate) fn load(path: &Path) -> Result<(Routes, Restored), Error> {
    let found = read(path)?;
    let damage = match found {
        None => return Ok((Routes::new(), Restored::New)),
        Some(Ok(routes)) => return Ok((routes, Restored::Loaded)),
        Some(Err(Damage::Newer(_))) => return Err(Error::Newer { path: path.to_owned() }),
        Some(Err(damage)) => damage,
    };
    let aside = path.with_extension("damaged");
    error!(file = %path.display(), aside = %aside.display(), error = %Chain(&damage), "table is damaged");
    fs::rename(path, &aside).map_err(|source| Error::Load { path: path.to_owned(), source })?;
    if let Some(Ok(routes)) = read(&path.with_extension("previous"))? {
        warn!("going on with the table before the last change");
        return Ok((routes, Restored::Previous));
    }
    error!("no usable table; apps answer 503 until the agent sets their routes again");
    Ok((Routes::new(), Restored::Lost))
}

fn read(path: &Path) -> Result<Option<Result<Routes, Damage>>, Error> {
    match fs::read_limited(path, MAX_BYTES) {
        Ok(None) => Ok(None),
        Ok(Some(bytes)) => Ok(Some(parse(&bytes))),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Some(Err(Damage::Foreign))),
        Err(source) => Err(Error::Load { path: path.to_owned(), source }),
    }
}

fn parse(bytes: &[u8]) -> Result<Routes, Damage> {
    let end = bytes.iter().take(64).position(|it| *it == b'\n').ok_or(Damage::Foreign)?;
    let (head, json) = bytes.split_at_checked(end).ok_or(Damage::Foreign)?;
    let json = json.get(1..).ok_or(Damage::Foreign)?;
    let head = std::str::from_utf8(head).map_err(|_| Damage::Foreign)?;
    let mut words = head.split(' ');
    if words.next() != Some(MAGIC) {
        return Err(Damage::Foreign);
    }
    let format: u32 = words.next().and_then(|it| it.parse().ok()).ok_or(Damage::Foreign)?;
    if FORMAT < format {
        return Err(Damage::Newer(format));
    }
    if words.next() != Some(&format!("{:08x}", crc32fast::hash(json))) {
        return Err(Damage::Checksum);
    }
    let routes: Routes = serde_json::from_slice(json).map_err(Damage::Content)?;
    for (app, route) in &routes {
        crate::route::check_app(app).and_then(|()| route.check()).map_err(Damage::Route)?;
    }
    Ok(routes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(generation: u64) -> Routes {
        let target = "10.213.0.2:8080".parse().unwrap();
        Routes::from([("web".to_owned(), Route::new(generation, [target]))])
    }

    #[test]
    fn a_table_survives_and_a_first_start_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table");
        assert_eq!(load(&path).unwrap(), (Routes::new(), Restored::New));
        save(&path, &routes(1)).unwrap();
        save(&path, &routes(2)).unwrap();
        assert_eq!(load(&path).unwrap(), (routes(2), Restored::Loaded));
    }

    #[test]
    fn every_damaged_byte_is_noticed_and_the_table_before_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table");
        save(&path, &routes(1)).unwrap();
        save(&path, &routes(2)).unwrap();
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x04;
            std::fs::write(&path, &bad).unwrap();
            match load(&path) {
                Ok(found) => assert_eq!(found, (routes(1), Restored::Previous), "byte {at}"),
                // The digit of the format became a larger one.
                Err(error) => assert!(matches!(error, Error::Newer { .. }), "byte {at}: {error}"),
            }
        }
        for end in 0..good.len() {
            std::fs::write(&path, &good[..end]).unwrap();
            assert_eq!(load(&path).unwrap(), (routes(1), Restored::Previous), "cut at {end}");
        }
    }

    #[test]
    fn two_damaged_files_leave_an_empty_table_and_the_evidence() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table");
        std::fs::write(&path, b"junk").unwrap();
        std::fs::write(path.with_extension("previous"), b"junk").unwrap();
        assert_eq!(load(&path).unwrap(), (Routes::new(), Restored::Lost));
        assert_eq!(std::fs::read(path.with_extension("damaged")).unwrap(), b"junk");
    }

    #[test]
    fn a_newer_format_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table");
        std::fs::write(&path, b"slipway-forward 2 00000000\n{}").unwrap();
        assert!(matches!(load(&path), Err(Error::Newer { .. })));
        assert!(path.exists());
    }
}
