//! Makes archives that no sane program would make.

use std::io::Write as _;

use flate2::{Compress, Compression, FlushCompress, write::GzEncoder};

/// A tar, header by header.
#[derive(Clone, Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

/// The fields of a header.
#[derive(Clone)]
pub(crate) struct Header<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) link: &'a [u8],
    pub(crate) kind: u8,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) size: u64,
}

impl Default for Header<'_> {
    fn default() -> Self {
        Self { name: b"x", link: b"", kind: b'0', mode: 0o644, uid: 1000, size: 0 }
    }
}

impl Header<'_> {
    pub(crate) fn block(&self) -> [u8; 512] {
        let mut block = [0; 512];
        block[..self.name.len()].copy_from_slice(self.name);
        block[100..107].copy_from_slice(format!("{:07o}", self.mode).as_bytes());
        block[108..115].copy_from_slice(format!("{:07o}", self.uid).as_bytes());
        block[116..123].copy_from_slice(b"0001750");
        if self.size < 1 << 33 {
            block[124..135].copy_from_slice(format!("{:011o}", self.size).as_bytes());
        } else {
            block[124] = 0x80;
            block[128..136].copy_from_slice(&self.size.to_be_bytes());
        }
        block[136..147].copy_from_slice(b"14524770400");
        block[156] = self.kind;
        block[157..157 + self.link.len()].copy_from_slice(self.link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        sum(&mut block);
        block
    }
}

/// Writes the checksum of a header.
pub(crate) fn sum(block: &mut [u8; 512]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|it| u32::from(*it)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

impl Tar {
    pub(crate) fn header(mut self, header: Header<'_>) -> Self {
        self.0.extend(header.block());
        self
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// Bytes, filled up to a whole block.
    pub(crate) fn body(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, body: &[u8]) -> Self {
        let size = u64::try_from(body.len()).unwrap();
        self.header(Header { name: name.as_bytes(), size, ..Header::default() }).body(body)
    }

    pub(crate) fn folder(self, name: &str) -> Self {
        let header = Header { name: name.as_bytes(), kind: b'5', mode: 0o755, ..Header::default() };
        self.header(header)
    }

    pub(crate) fn link(self, kind: u8, name: &str, target: &str) -> Self {
        let (name, link) = (name.as_bytes(), target.as_bytes());
        self.header(Header { name, link, kind, ..Header::default() })
    }

    /// An entry that describes the next one: GNU's `L` and `K`, PAX's `x` and `g`.
    pub(crate) fn ahead(self, kind: u8, body: &[u8]) -> Self {
        let size = u64::try_from(body.len()).unwrap();
        self.header(Header { name: b"ahead", kind, size, ..Header::default() }).body(body)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// A PAX attribute.
pub(crate) fn pax(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len() + 1;
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    format!("{length}{rest}").into_bytes()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Deflate data of `start` and then zeros, without making the zeros one by one.
pub(crate) struct Deflated {
    pub(crate) data: Vec<u8>,
    pub(crate) crc: u32,
    pub(crate) length: u64,
}

pub(crate) fn deflate_with_zeros(start: &[u8], mib: usize) -> Deflated {
    let pack = |bytes: &[u8], flush| {
        let mut out = Vec::with_capacity(bytes.len() + (1 << 16));
        let mut state = Compress::new(Compression::best(), false);
        state.compress_vec(bytes, &mut out, flush).unwrap();
        out
    };
    let zeros = vec![0; 1 << 20];
    let one = pack(&zeros, FlushCompress::Full);
    let mut data = pack(start, FlushCompress::Full);
    let mut crc = crc32fast::Hasher::new();
    crc.update(start);
    let mut crc_of_one = crc32fast::Hasher::new();
    crc_of_one.update(&zeros);
    for _ in 0..mib {
        data.extend(&one);
        crc.combine(&crc_of_one);
    }
    data.extend(pack(b"", FlushCompress::Finish));
    let length = u64::try_from(start.len() + (mib << 20)).unwrap();
    Deflated { data, crc: crc.finalize(), length }
}

pub(crate) fn gzip_with_zeros(start: &[u8], mib: usize) -> Vec<u8> {
    let Deflated { data, crc, length } = deflate_with_zeros(start, mib);
    let length = u32::try_from(length & 0xffff_ffff).unwrap();
    let header = b"\x1f\x8b\x08\0\0\0\0\0\0\xff".as_slice();
    [header, &data, &crc.to_le_bytes(), &length.to_le_bytes()].concat()
}

/// An entry of a zip, as its two headers tell it.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) name: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) deflated: bool,
    pub(crate) data: Vec<u8>,
    pub(crate) crc: u32,
    pub(crate) size: u32,
}

impl Member {
    pub(crate) fn stored(name: &str, mode: u32, data: &[u8]) -> Self {
        let size = u32::try_from(data.len()).unwrap();
        let crc = crc32fast::hash(data);
        Self { name: name.into(), mode, deflated: false, data: data.into(), crc, size }
    }

    pub(crate) fn zeros(name: &str, mib: usize) -> Self {
        let Deflated { data, crc, length } = deflate_with_zeros(b"", mib);
        let size = u32::try_from(length).unwrap();
        Self { name: name.into(), mode: 0o100_644, deflated: true, data, crc, size }
    }

    fn common(&self) -> Vec<u8> {
        let method = if self.deflated { 8_u16 } else { 0 };
        let mut out = [20_u16, 1 << 11, method, 0, 0x21].map(u16::to_le_bytes).concat();
        let packed = u32::try_from(self.data.len()).unwrap();
        out.extend([self.crc, packed, self.size].map(u32::to_le_bytes).concat());
        out.extend([u16::try_from(self.name.len()).unwrap(), 0].map(u16::to_le_bytes).concat());
        out
    }

    pub(crate) fn local(&self) -> Vec<u8> {
        [b"PK\x03\x04", &self.common()[..], &self.name, &self.data].concat()
    }

    pub(crate) fn central(&self, offset: u32) -> Vec<u8> {
        let mut out = [b"PK\x01\x02", &0x0314_u16.to_le_bytes()[..], &self.common()].concat();
        out.extend([0_u16, 0, 0].map(u16::to_le_bytes).concat());
        out.extend([self.mode << 16, offset].map(u32::to_le_bytes).concat());
        out.extend(&self.name);
        out
    }
}

/// A zip with its entries one after the other.
pub(crate) fn zip(members: &[Member]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut central = Vec::new();
    for member in members {
        central.extend(member.central(u32::try_from(out.len()).unwrap()));
        out.extend(member.local());
    }
    let count = u16::try_from(members.len()).unwrap();
    end_zip(out, &central, count, b"")
}

pub(crate) fn end_zip(mut out: Vec<u8>, central: &[u8], count: u16, comment: &[u8]) -> Vec<u8> {
    let offset = u32::try_from(out.len()).unwrap();
    out.extend(central);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend([count, count].map(u16::to_le_bytes).concat());
    out.extend([u32::try_from(central.len()).unwrap(), offset].map(u32::to_le_bytes).concat());
    out.extend(u16::try_from(comment.len()).unwrap().to_le_bytes());
    out.extend(comment);
    out
}
