//! Output straight from Docker's own files: one JSON value per line, the newest in `path`, older ones
//! in `path.1`, `path.2` …
//!
//! The daemon may rename the files at any moment. Once they are open this no longer matters, so they
//! are opened oldest first, and the opening counts only when `path` is the same file before and
//! after it. What is compressed, missing or not ours to read is left to the daemon.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use tokio::sync::mpsc;

use super::assemble::{Assembler, Piece};
use crate::{
    docker::wire::away,
    logs::{LogLine, LogQuery, Logs},
};

mod entry;

const ACT: &str = "read a file of Docker's output";
/// How much is read at once.
const CHUNK: usize = 256 << 10;
/// Batches that may wait for the reader.
const AHEAD: usize = 4;
/// How often the files are opened anew when they are being renamed.
const ATTEMPTS: u32 = 5;
/// The longest value. Docker cuts lines at 16 KiB; escaped they can be six times as long.
const LONGEST: usize = 4 << 20;

/// The files of one container, oldest first.
#[derive(Debug)]
pub(super) struct Files(Vec<Part>);

/// A file, and how much of it there was when it was opened.
#[derive(Debug)]
struct Part {
    file: File,
    length: u64,
}

/// Opens a container's files; `None` when they cannot be read directly.
pub(super) async fn open(path: &Path) -> Option<Files> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || open_all(&path)).await.ok()?.ok()?
}

fn open_all(path: &Path) -> io::Result<Option<Files>> {
    for _ in 0..ATTEMPTS {
        let before = match std::fs::metadata(path) {
            // Between two renames.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other?.ino(),
        };
        let mut names = vec![path.to_owned()];
        for number in 1.. {
            let name = with_suffix(path, &format!(".{number}"));
            if with_suffix(&name, ".gz").try_exists()? {
                return Ok(None);
            }
            if !name.try_exists()? {
                break;
            }
            names.push(name);
        }
        let opened: io::Result<Vec<_>> = names.iter().rev().map(|it| part(it)).collect();
        let after = std::fs::metadata(path).map(|it| it.ino());
        match (opened, after) {
            (Ok(parts), Ok(after)) if before == after => return Ok(Some(Files(parts))),
            (Err(error), _) | (_, Err(error)) if error.kind() != ErrorKind::NotFound => {
                return Err(error);
            }
            _ => (),
        }
    }
    Ok(None)
}

fn part(path: &Path) -> io::Result<Part> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    Ok(Part { file, length })
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Reads the files, on a thread that ends with the stream.
pub(super) fn read(files: Files, query: LogQuery) -> Logs {
    let (batches, lines) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        let out = |batch| batches.blocking_send(Ok(batch)).is_ok();
        if let Err(source) = scan(files, &query, out) {
            // Nobody listens any more: then nobody misses it.
            drop(batches.blocking_send(Err(away(ACT, source))));
        }
    });
    stream::unfold(lines, |mut lines| async move { Some((lines.recv().await?, lines)) }).boxed()
}

/// Reads everything that the query means into batches, until `out` has enough.
fn scan(
    files: Files,
    query: &LogQuery,
    mut out: impl FnMut(Vec<LogLine>) -> bool,
) -> io::Result<()> {
    let Files(mut parts) = files;
    if let Some(tail) = query.tail {
        skip_to_tail(&mut parts, u64::from(tail))?;
    }
    let mut assembler = Assembler::default();
    for Part { file, length } in parts {
        // What is written from now on is not meant.
        let start = position(&file)?;
        let mut file = file.take(length.saturating_sub(start));
        let mut buffer = BytesMut::new();
        loop {
            let ended = fill(&mut file, &mut buffer)? == 0;
            let whole = buffer.iter().rposition(|it| *it == b'\n').map_or(0, |it| it + 1);
            let chunk = buffer.split_to(whole).freeze();
            let mut lines = Vec::with_capacity(chunk.len() / 160);
            for piece in entries(&chunk) {
                let since = query.since.is_none_or(|it| it <= piece.at);
                let until = query.until.is_none_or(|it| piece.at < it);
                if since && until {
                    assembler.push(piece, &mut lines);
                }
            }
            if !lines.is_empty() && !out(lines) {
                return Ok(());
            }
            // What is left without a line's end is being written just now, or is no output.
            if ended || LONGEST < buffer.len() {
                break;
            }
        }
    }
    let mut rest = Vec::new();
    assembler.finish(&mut rest);
    if !rest.is_empty() {
        out(rest);
    }
    Ok(())
}

fn position(mut file: &File) -> io::Result<u64> {
    file.stream_position()
}

/// Appends what one read gives.
fn fill(file: &mut impl io::Read, buffer: &mut BytesMut) -> io::Result<usize> {
    let had = buffer.len();
    buffer.resize(had + CHUNK, 0);
    let came = file.read(buffer.get_mut(had..).unwrap_or_default());
    buffer.truncate(had + came.as_ref().copied().unwrap_or(0));
    came
}

/// The values of a chunk of whole lines. Lines that are not Docker's are passed over.
fn entries(chunk: &Bytes) -> impl Iterator<Item = Piece> {
    let mut start = 0;
    memchr::memchr_iter(b'\n', chunk).filter_map(move |end| {
        let line = start..end;
        start = end + 1;
        entry::parse(chunk, line)
    })
}

/// Moves to where the last `count` values begin, and drops the files before.
fn skip_to_tail(parts: &mut Vec<Part>, count: u64) -> io::Result<()> {
    let mut missing = count;
    let mut first = parts.len();
    for (index, part) in parts.iter_mut().enumerate().rev() {
        if missing == 0 {
            break;
        }
        first = index;
        let (start, found) = tail_start(&part.file, part.length, missing)?;
        part.file.seek(SeekFrom::Start(start))?;
        missing = missing.saturating_sub(found);
    }
    parts.drain(..first.min(parts.len()));
    Ok(())
}

/// Where the last `count` whole lines begin, and how many there are.
fn tail_start(mut file: &File, length: u64, count: u64) -> io::Result<(u64, u64)> {
    let step = u64::try_from(CHUNK).unwrap_or(u64::MAX);
    let (mut end, mut ends) = (length, 0);
    while 0 < end {
        let start = end.saturating_sub(step);
        file.seek(SeekFrom::Start(start))?;
        let mut block = Vec::new();
        file.take(end - start).read_to_end(&mut block)?;
        for at in memchr::memrchr_iter(b'\n', &block) {
            // One more line end than lines: the one before the first of them.
            if ends == count {
                return Ok((start + u64::try_from(at).unwrap_or(0) + 1, count));
            }
            ends += 1;
        }
        end = start;
    }
    Ok((0, ends))
}

#[cfg(test)]
mod tests {
    use std::{fmt::Write as _, time::SystemTime};

    use super::*;
    use crate::docker::logs::time;

    /// A value as Docker writes it, of second `at`.
    fn value(at: u32, text: &str) -> String {
        let log = serde_json::to_string(text).unwrap();
        format!(
            "{{\"log\":{log},\"stream\":\"stdout\",\"time\":\"2026-11-21T12:00:{at:02}.5Z\"}}\n"
        )
    }

    fn at(second: u32) -> Option<SystemTime> {
        time::parse(format!("2026-11-21T12:00:{second:02}.5Z").as_bytes())
    }

    /// Writes files, oldest first, and reads them.
    fn texts(files: &[String], query: &LogQuery) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x-json.log");
        for (age, text) in files.iter().rev().enumerate() {
            let name = if age == 0 { path.clone() } else { with_suffix(&path, &format!(".{age}")) };
            std::fs::write(name, text).unwrap();
        }
        let mut lines = Vec::new();
        let files = open_all(&path).unwrap().unwrap();
        scan(files, query, |batch| {
            lines.extend(batch.iter().map(LogLine::text));
            true
        })
        .unwrap();
        lines
    }

    fn tail(count: u32) -> LogQuery {
        LogQuery { tail: Some(count), ..LogQuery::default() }
    }

    #[test]
    fn older_files_come_first() {
        let files = [value(1, "a\n"), value(2, "b\n"), value(3, "c\n") + &value(4, "d\n")];
        assert_eq!(texts(&files, &LogQuery::default()), ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_line_may_begin_in_one_file_and_end_in_the_next() {
        let files = [value(1, "be"), value(2, "gun\n") + "{\"log\":\"torn"];
        assert_eq!(texts(&files, &LogQuery::default()), ["begun"]);
    }

    #[test]
    fn the_tail_reaches_back_into_older_files() {
        let files = [value(1, "a\n") + &value(1, "b\n"), value(2, "c\n")];
        for (count, expected) in [
            (0, &[][..]),
            (1, &["c"]),
            (2, &["b", "c"]),
            (3, &["a", "b", "c"]),
            (9, &["a", "b", "c"]),
        ] {
            assert_eq!(texts(&files, &tail(count)), expected, "{count}");
        }
    }

    #[test]
    fn a_long_tail_is_found_across_blocks() {
        let mut all = String::new();
        for number in 0..9_000 {
            write!(all, "{}", value(1, &format!("line {number}\n"))).unwrap();
        }
        let last = texts(&[all], &tail(7_000));
        assert_eq!((last.len(), last.first().unwrap().as_str()), (7_000, "line 2000"));
    }

    #[test]
    fn times_bound_from_below_and_not_quite_to_above() {
        let files = [1, 2, 3, 4].map(|it| value(it, &format!("{it}\n"))).concat();
        let query = LogQuery { since: at(2), until: at(4), ..LogQuery::default() };
        assert_eq!(texts(&[files], &query), ["2", "3"]);
    }

    #[test]
    fn compressed_files_are_left_to_the_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x-json.log");
        std::fs::write(&path, value(1, "a\n")).unwrap();
        std::fs::write(with_suffix(&path, ".1.gz"), b"").unwrap();
        assert!(open_all(&path).unwrap().is_none());
        assert!(open_all(&dir.path().join("none")).unwrap().is_none());
    }
}
