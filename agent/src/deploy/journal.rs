//! The journal of one deployment: a file of records that is only ever appended to.
//!
//! A record is its length and the CRC-32 of its bytes, both little-endian `u32`, then JSON. A write
//! that was cut short leaves a torn tail, which is cut off when the file is opened. Damage further
//! up is stepped over: what can still be read counts, because a deployment never goes backwards.
//!
//! [`Journal`] writes, [`Decoder`] reads. There is one file per deployment, so compaction is the
//! removal of the folders of deployments that are old enough to be forgotten.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// Longest record that is written or believed.
pub(super) const MAX_RECORD: usize = 4 << 20;

const HEADER: usize = 8;

/// Appends records to a file.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    len: u64,
}

impl Journal {
    /// Makes the file; it must not exist yet.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file =
            OpenOptions::new().create_new(true).read(true).write(true).mode(0o600).open(path)?;
        if let Some(dir) = path.parent() {
            slipway_host::fs::sync_dir(dir)?;
        }
        Ok(Self { file, len: 0 })
    }

    /// Opens the file, hands every readable record to `each`, and cuts off a torn tail.
    pub(super) fn open(path: &Path, mut each: impl FnMut(&[u8])) -> io::Result<(Self, Damage)> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut decoder = Decoder::default();
        let mut block = vec![0; 64 << 10];
        let mut total = 0_u64;
        loop {
            let n = file.read(&mut block)?;
            decoder.push(block.get(..n).unwrap_or_default());
            total = total.saturating_add(u64::try_from(n).unwrap_or(0));
            while let Some(record) = decoder.next(n == 0) {
                each(&record);
            }
            if n == 0 {
                break;
            }
        }
        let len = decoder.good_end();
        let damage = Damage { torn: total.saturating_sub(len), lost: decoder.skipped() };
        if len < total {
            file.set_len(len)?;
            file.sync_all()?;
        }
        file.seek(SeekFrom::Start(len))?;
        Ok((Self { file, len }, damage))
    }

    /// Appends records and makes them durable. On an error the file is as it was before.
    pub(super) fn append(&mut self, records: &[Vec<u8>]) -> io::Result<()> {
        let frames = frames(records)?;
        let result = self.file.write_all(&frames).and_then(|()| self.file.sync_data());
        match result {
            Ok(()) => {
                self.len = self.len.saturating_add(u64::try_from(frames.len()).unwrap_or(0));
                Ok(())
            }
            Err(error) => {
                self.file.set_len(self.len)?;
                self.file.seek(SeekFrom::Start(self.len))?;
                Err(error)
            }
        }
    }

    /// How much of the file is written and durable.
    pub(super) fn len(&self) -> u64 {
        self.len
    }
}

fn frames(records: &[Vec<u8>]) -> io::Result<Vec<u8>> {
    let mut frames = Vec::with_capacity(records.iter().map(|it| it.len() + HEADER).sum());
    for record in records {
        let len = u32::try_from(record.len()).ok().filter(|_| record.len() <= MAX_RECORD);
        let len = len.ok_or_else(|| io::Error::other("a record is too long"))?;
        frames.extend_from_slice(&len.to_le_bytes());
        frames.extend_from_slice(&crc32fast::hash(record).to_le_bytes());
        frames.extend_from_slice(record);
    }
    Ok(frames)
}

/// What was wrong with a journal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Damage {
    /// Bytes cut off its end.
    pub(super) torn: u64,
    /// Bytes stepped over within it.
    pub(super) lost: u64,
}

/// Finds records in a stream of bytes.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    buffer: Vec<u8>,
    /// Where in `buffer` the next record is looked for.
    at: usize,
    /// Position of `at` in the stream.
    position: u64,
    /// Where in the stream the last good record ended.
    good_end: u64,
    /// Bytes between good records that were none.
    skipped: u64,
}

impl Decoder {
    /// Adds bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.at);
        self.at = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next record. `complete` tells that no more bytes come to complete a started one, so what
    /// does not hold a record now never will.
    pub(super) fn next(&mut self, complete: bool) -> Option<Vec<u8>> {
        loop {
            match self.look() {
                Look::Record(record) => {
                    let len = HEADER + record.len();
                    self.skipped += self.position - self.good_end;
                    self.advance(len);
                    self.good_end = self.position;
                    return Some(record);
                }
                Look::Short if !complete => return None,
                Look::Short | Look::Bad => {
                    if self.at >= self.buffer.len() {
                        return None;
                    }
                    self.advance(1);
                }
            }
        }
    }

    /// Where the last good record ended.
    pub(super) fn good_end(&self) -> u64 {
        self.good_end
    }

    /// Bytes before the last good record that belonged to none.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }

    fn advance(&mut self, by: usize) {
        self.at += by;
        self.position = self.position.saturating_add(u64::try_from(by).unwrap_or(0));
    }

    fn look(&self) -> Look {
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        let Some((header, body)) = rest.split_first_chunk::<HEADER>() else {
            return Look::Short;
        };
        let [l0, l1, l2, l3, c0, c1, c2, c3] = *header;
        let len = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        if len == 0 || len > MAX_RECORD {
            return Look::Bad;
        }
        let Some(record) = body.get(..len) else { return Look::Short };
        if crc32fast::hash(record) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Look::Bad;
        }
        Look::Record(record.to_vec())
    }
}

enum Look {
    Record(Vec<u8>),
    Short,
    Bad,
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;

    fn written(dir: &Path, records: &[Vec<u8>]) -> PathBuf {
        let path = dir.join("journal");
        let mut journal = Journal::create(&path).unwrap();
        for record in records {
            journal.append(std::slice::from_ref(record)).unwrap();
        }
        path
    }

    fn read(path: &Path) -> (Journal, Damage, Vec<Vec<u8>>) {
        let mut records = Vec::new();
        let (journal, damage) = Journal::open(path, |it| records.push(it.to_vec())).unwrap();
        (journal, damage, records)
    }

    fn some_records() -> impl Strategy<Value = Vec<Vec<u8>>> {
        // As in the real file, JSON: no byte of it makes a plausible length.
        prop::collection::vec("[a-z\"{}:]{1,300}".prop_map(String::into_bytes), 1..12)
    }

    #[test]
    fn a_record_that_is_too_long_is_refused_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path(), &[b"one".to_vec()]);
        let (mut journal, _, _) = read(&path);
        journal.append(&[vec![b'x'; MAX_RECORD + 1]]).unwrap_err();
        journal.append(&[b"two".to_vec()]).unwrap();
        assert_eq!(read(&path).2, [b"one".to_vec(), b"two".to_vec()]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_tail_cut_anywhere_loses_only_what_it_held(records in some_records(), cut in 0.0..1.0_f64) {
            let dir = tempfile::tempdir().unwrap();
            let path = written(dir.path(), &records);
            let len = std::fs::metadata(&path).unwrap().len();
            #[expect(clippy::as_conversions, clippy::cast_possible_truncation, clippy::cast_sign_loss,
                clippy::cast_precision_loss, reason = "a position chosen at random")]
            let cut = (len as f64 * cut) as u64;
            OpenOptions::new().write(true).open(&path).unwrap().set_len(cut).unwrap();
            let mut end = 0;
            let whole = records.iter().take_while(|it| {
                end += u64::try_from(it.len() + HEADER).unwrap();
                end <= cut
            }).count();
            let (mut journal, damage, found) = read(&path);
            prop_assert_eq!(&found, &records[..whole]);
            prop_assert_eq!(damage.lost, 0);
            journal.append(&[b"after".to_vec()]).unwrap();
            let (_, damage, found) = read(&path);
            prop_assert_eq!(damage, Damage { torn: 0, lost: 0 });
            prop_assert_eq!(found.len(), whole + 1);
        }

        #[test]
        fn a_flipped_bit_loses_one_record(records in some_records(), at in 0_usize..4000, bit in 0..8_u32) {
            let dir = tempfile::tempdir().unwrap();
            let path = written(dir.path(), &records);
            let mut bytes = std::fs::read(&path).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            std::fs::write(&path, &bytes).unwrap();
            let (_, damage, found) = read(&path);
            prop_assert_eq!(found.len(), records.len() - 1);
            prop_assert!(damage.torn + damage.lost > 0);
            prop_assert!(found.iter().all(|it| records.contains(it)));
        }

        #[test]
        fn appended_garbage_is_cut_off(records in some_records(), garbage in prop::collection::vec(any::<u8>(), 1..200)) {
            let dir = tempfile::tempdir().unwrap();
            let path = written(dir.path(), &records);
            OpenOptions::new().append(true).open(&path).unwrap().write_all(&garbage).unwrap();
            let (journal, damage, found) = read(&path);
            prop_assert_eq!(&found, &records);
            prop_assert_eq!(damage.torn, u64::try_from(garbage.len()).unwrap());
            prop_assert_eq!(journal.len(), std::fs::metadata(&path).unwrap().len());
        }

        #[test]
        fn blocks_of_any_size_give_the_same_records(records in some_records(), size in 1_usize..50) {
            let bytes = frames(&records).unwrap();
            let mut decoder = Decoder::default();
            let mut found = Vec::new();
            for block in bytes.chunks(size) {
                decoder.push(block);
                while let Some(record) = decoder.next(false) {
                    found.push(record);
                }
            }
            prop_assert_eq!(found, records);
        }
    }
}
