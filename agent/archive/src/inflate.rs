//! Deflate and gzip, with every ending told apart. `flate2`'s own readers take a stream that just
//! stops for one that has ended.

use std::io::{self, BufRead, Read};

use flate2::{Decompress, FlushDecompress, Status};

use crate::{
    error::{Code, Error},
    limits::Limits,
};

/// Unpacked bytes below which the ratio is not looked at.
pub(crate) const RATIO_FLOOR: u64 = 1 << 20;
/// The longest name or comment in a gzip header.
const HEADER_TEXT_BYTES: usize = 64 << 10;

/// Raw deflate data. Reads to its own end and no further.
pub(crate) struct Inflate<R> {
    input: R,
    state: Decompress,
    ended: bool,
}

impl<R: BufRead> Inflate<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, state: Decompress::new(false), ended: false }
    }

    /// Packed bytes used.
    pub(crate) fn consumed(&self) -> u64 {
        self.state.total_in()
    }
}

impl<R: BufRead> Read for Inflate<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while !self.ended && !out.is_empty() {
            let input = self.input.fill_buf()?;
            let at_end = input.is_empty();
            let (used, made) = (self.state.total_in(), self.state.total_out());
            let status = self
                .state
                .decompress(input, out, FlushDecompress::None)
                .map_err(|_| Error::whole(Code::Format, "holds damaged data"))?;
            let used = narrow(self.state.total_in() - used);
            let made = narrow(self.state.total_out() - made);
            self.input.consume(used);
            self.ended = status == Status::StreamEnd;
            if 0 < made {
                return Ok(made);
            }
            if at_end && !self.ended {
                return Err(truncated().into());
            }
        }
        Ok(0)
    }
}

/// One gzip member that is the whole of its input, with its checksum and its ratio.
pub(crate) struct Gunzip<R> {
    inflate: Inflate<R>,
    crc: crc32fast::Hasher,
    made: u64,
    most: u64,
    ratio: u64,
    checked: bool,
}

impl<R: BufRead> Gunzip<R> {
    /// Reads the member's header.
    pub(crate) fn new(mut input: R, limits: &Limits) -> Result<Self, Error> {
        header(&mut input).map_err(Error::from_io)?;
        // The files, a header or two for each, and the padding at the end.
        let headers = limits.entries.saturating_mul(4 << 10).saturating_add(RATIO_FLOOR);
        Ok(Self {
            inflate: Inflate::new(input),
            crc: crc32fast::Hasher::new(),
            made: 0,
            most: limits.unpacked_bytes.saturating_add(headers),
            ratio: limits.ratio,
            checked: false,
        })
    }

    fn check_limits(&self) -> Result<(), Error> {
        if self.most < self.made {
            return Err(Error::whole(Code::Size, "unpacks to more than is allowed"));
        }
        if exceeds_ratio(self.made, self.inflate.consumed(), self.ratio) {
            return Err(too_dense(self.ratio));
        }
        Ok(())
    }

    /// Compares the checksum and the length, and sees that nothing follows.
    fn check_trailer(&mut self) -> io::Result<()> {
        let input = &mut self.inflate.input;
        let (crc, length) = (u32::from_le_bytes(bytes(input)?), u32::from_le_bytes(bytes(input)?));
        let made = u32::try_from(self.made & u64::from(u32::MAX)).unwrap_or_default();
        if self.crc.clone().finalize() != crc || made != length {
            return Err(Error::whole(Code::Digest, "does not match its own gzip checksum").into());
        }
        if !input.fill_buf()?.is_empty() {
            return Err(
                Error::whole(Code::Trailing, "goes on after the end of its gzip data").into()
            );
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.checked || out.is_empty() {
            return Ok(0);
        }
        let made = self.inflate.read(out)?;
        if made == 0 {
            self.checked = true;
            self.check_trailer()?;
            return Ok(0);
        }
        self.crc.update(out.get(..made).unwrap_or_default());
        self.made = self.made.saturating_add(u64::try_from(made).unwrap_or(u64::MAX));
        self.check_limits()?;
        Ok(made)
    }
}

fn header(input: &mut impl BufRead) -> io::Result<()> {
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    const CHECKSUM: u8 = 2;
    let [id1, id2, method, flags, _, _, _, _, _, _] = bytes(input)?;
    if (id1, id2, method) != (0x1f, 0x8b, 8) || flags & 0xe0 != 0 {
        return Err(Error::whole(Code::Format, "has a gzip header that nobody knows").into());
    }
    if flags & EXTRA != 0 {
        let length = u16::from_le_bytes(bytes(input)?);
        skip(input, u64::from(length))?;
    }
    for _ in [NAME, COMMENT].iter().filter(|it| flags & **it != 0) {
        let mut left = HEADER_TEXT_BYTES;
        while bytes::<1>(input)? != [0] {
            left -= 1;
            if left == 0 {
                return Err(Error::whole(Code::Format, "has an endless gzip header").into());
            }
        }
    }
    if flags & CHECKSUM != 0 {
        bytes::<2>(input)?;
    }
    Ok(())
}

/// Exactly `N` bytes.
pub(crate) fn bytes<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => truncated().into(),
        _ => error,
    })?;
    Ok(bytes)
}

/// Passes over `count` bytes.
pub(crate) fn skip(input: &mut impl Read, count: u64) -> io::Result<()> {
    if io::copy(&mut input.take(count), &mut io::sink())? < count {
        return Err(truncated().into());
    }
    Ok(())
}

/// Whether unpacked bytes are too many for the packed ones.
pub(crate) fn exceeds_ratio(made: u64, used: u64, ratio: u64) -> bool {
    RATIO_FLOOR < made && used.saturating_mul(ratio) < made
}

pub(crate) fn too_dense(ratio: u64) -> Error {
    Error::whole(Code::Ratio, format!("unpacks to more than {ratio} times its size"))
}

pub(crate) fn truncated() -> Error {
    Error::whole(Code::Truncated, "ends too early")
}

/// A count of bytes within one buffer.
fn narrow(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
