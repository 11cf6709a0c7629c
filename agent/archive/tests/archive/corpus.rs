//! The table of bad archives, case by case, and what Slipway answers to each.

use std::{fmt::Write as _, fs, time::Duration};

use slipway_archive::{Context, Format, scan};
use slipway_proto::problem::Problem;

use crate::{
    make::{self, Header, Member, Tar, gzip, gzip_with_zeros, pax, zip},
    read::{Stored, list, peak_kib, verdict, within},
};

type Case = (&'static str, &'static str, Vec<u8>);

const NEWLINE_AND_OTHERS: [&str; 4] = ["a\nb", "a\u{1b}[2Jb", "a\u{7}b", "a\u{202e}b"];

fn tar() -> Tar {
    Tar::default()
}

fn kind(kind: u8) -> Vec<u8> {
    tar().header(Header { kind, ..Header::default() }).end()
}

/// Paths, links and types.
fn names() -> Vec<Case> {
    let long_part = "a".repeat(300);
    let long_name = |name: &str| tar().ahead(b'L', format!("{name}\0").as_bytes()).file("x", b"");
    let mut cases = vec![
        ("01", "PATH", tar().file("ok.txt", b"ok").file("../evil", b"").end()),
        ("01 inside", "PATH", tar().file("a/../../evil", b"").end()),
        ("02", "PATH", tar().file("/etc/evil", b"").end()),
        ("03", "LINK", tar().link(b'2', "d", "/tmp").file("d/x", b"").end()),
        ("04", "LINK", tar().link(b'2', "d", "..").file("d/x", b"").end()),
        (
            "04 through a harmless link",
            "LINK",
            tar().folder("s").link(b'2', "d", "s").file("d/x", b"").end(),
        ),
        ("04 link after the file", "LINK", tar().file("d/x", b"").link(b'2', "d", "s").end()),
        ("05", "LINK", tar().link(b'1', "h", "/etc/passwd").end()),
        ("06", "LINK", tar().link(b'1', "h", "../x").end()),
        ("06 to a later file", "LINK", tar().link(b'1', "h", "x").file("x", b"").end()),
        ("06 to a link", "LINK", tar().link(b'2', "l", "x").link(b'1', "h", "l").end()),
        ("07 device", "TYPE", kind(b'3')),
        ("07 FIFO", "TYPE", kind(b'6')),
        ("07 block device", "TYPE", kind(b'4')),
        ("07 unknown", "TYPE", kind(b'V')),
        ("09", "LINK", tar().link(b'2', "a", "b").folder("a").end()),
        ("10", "LINK", tar().link(b'2', "a", "b").file("a", b"").end()),
        ("11", "LINK", tar().link(b'2', "shadow", "/etc/shadow").end()),
        ("11 deep", "LINK", tar().link(b'2', "a/b", "../../x").end()),
        ("11 up after a name", "LINK", tar().link(b'2', "a/b", "c/../../x").end()),
        ("12", "DUP", tar().file("a", b"1").file("a", b"2").end()),
        ("12 by another spelling", "DUP", tar().file("a", b"1").file("./a", b"2").end()),
        ("16", "PATH", long_name(&long_part).end()),
        ("16 all", "PATH", long_name(&format!("{}x", "a".repeat(200) + "/").repeat(6)).end()),
        ("17", "DUP", tar().file("p", b"").file("p/q", b"").end()),
        ("17 the other way", "DUP", tar().file("p/q", b"").file("p", b"").end()),
        ("no UTF-8", "PATH", tar().header(Header { name: b"a\xff", ..Header::default() }).end()),
        ("backslash", "PATH", tar().file("..\\x", b"").end()),
        ("drive", "PATH", tar().file("C:evil", b"").end()),
        ("zero in a long name", "PATH", long_name("a\0b").end()),
        ("file with a slash", "PATH", tar().file("a/", b"x").end()),
        ("long link outside", "LINK", tar().ahead(b'K', b"../x\0").link(b'2', "l", "y").end()),
        ("PAX name outside", "PATH", tar().ahead(b'x', &pax("path", "../x")).file("y", b"").end()),
        (
            "PAX link outside",
            "LINK",
            tar().ahead(b'x', &pax("linkpath", "/x")).link(b'2', "l", "y").end(),
        ),
    ];
    cases.extend(NEWLINE_AND_OTHERS.map(|it| ("13", "PATH", tar().file(it, b"").end())));
    let deep: Vec<_> = (0..300).map(|it| "d/".repeat(it * 10 + 1)).collect();
    let deep = deep
        .iter()
        .fold(tar(), |tar, it| tar.ahead(b'L', format!("{it}\0").as_bytes()).folder("x"));
    cases.push(("15", "DEPTH", deep.end()));
    cases
}

/// Shape of tar and gzip.
fn shapes() -> Vec<Case> {
    let good = || tar().file("a", &[1; 700]);
    let cut = |keep: usize| good().0[..keep].to_vec();
    let mut broken = tar().file("a", b"");
    broken.0[148] ^= 1;
    let mut bad_crc = gzip(&good().end());
    let at = bad_crc.len() - 8;
    bad_crc[at] ^= 1;
    let mut no_trailer = gzip(&good().end());
    no_trailer.truncate(at);
    let half = gzip(&good().end())[..at / 2].to_vec();
    let two = [gzip(&good().end()), gzip(&tar().file("b", b"").end())].concat();
    let one_zero_block = [good().0, vec![0; 512]].concat();
    let hidden = [one_zero_block.clone(), tar().file("b", b"").end()].concat();
    let smuggled = tar()
        .ahead(b'x', &pax("size", "1024"))
        .header(Header { name: b"outer", ..Header::default() })
        .file("smuggled", b"")
        .raw(&[0; 512])
        .end();
    vec![
        ("20", "TRUNCATED", cut(900)),
        ("20 in a header", "TRUNCATED", [good().0, vec![b'x'; 100]].concat()),
        ("21", "TRUNCATED", cut(512 + 1024)),
        ("21 one zero block", "TRUNCATED", one_zero_block),
        ("21 gz", "TRUNCATED", gzip(&cut(512 + 1024))),
        ("22", "TRAILING", [good().end(), b"more".to_vec()].concat()),
        ("22 behind one zero block", "TRAILING", hidden),
        ("22 gz", "TRAILING", gzip(&[good().end(), b"more".to_vec()].concat())),
        ("22 behind gz", "TRAILING", [gzip(&good().end()), b"more".to_vec()].concat()),
        ("23", "FORMAT", Vec::new()),
        (
            "24",
            "FORMAT",
            (0..4096_u32).flat_map(|it| (it.wrapping_mul(2_654_435_761)).to_be_bytes()).collect(),
        ),
        ("24 text", "FORMAT", b"hello".to_vec()),
        ("24 gz in gz", "FORMAT", gzip(&gzip(&good().end()))),
        ("24 text in gz", "FORMAT", gzip(b"hello")),
        ("24 xz", "FORMAT", b"\xfd7zXZ\0\0\0".to_vec()),
        ("24 zst", "FORMAT", b"\x28\xb5\x2f\xfd....".to_vec()),
        ("24 7z", "FORMAT", b"7z\xbc\xaf\x27\x1c".to_vec()),
        ("24 rar", "FORMAT", b"Rar!\x1a\x07\x01\0".to_vec()),
        ("24 only zeros", "FORMAT", vec![0; 10_240]),
        (
            "25",
            "SIZE",
            tar().header(Header { kind: b'L', size: 1 << 40, ..Header::default() }).end(),
        ),
        ("26", "SIZE", tar().header(Header { size: (1 << 63) - 1, ..Header::default() }).end()),
        (
            "26 in sum",
            "SIZE",
            tar().file("b", b"b").header(Header { size: 2 << 30, ..Header::default() }).end(),
        ),
        ("27", "FORMAT", broken.end()),
        ("28", "TYPE", kind(b'S')),
        (
            "28 PAX",
            "TYPE",
            tar().ahead(b'x', &pax("GNU.sparse.realsize", "1099511627776")).file("x", b"").end(),
        ),
        ("29", "FORMAT", smuggled),
        ("30", "TRAILING", two),
        ("32", "TRUNCATED", no_trailer),
        ("32 earlier", "TRUNCATED", half),
        ("33", "DIGEST", bad_crc),
    ]
}

/// Headers that mean different things to different readers.
fn headers() -> Vec<Case> {
    let mut gnu = Header { name: b"a", ..Header::default() }.block();
    gnu[257..265].copy_from_slice(b"ustar  \0");
    gnu[345..349].copy_from_slice(b"evil");
    make::sum(&mut gnu);
    vec![
        ("prefix of another kind", "FORMAT", tar().raw(&gnu).end()),
        (
            "two long names",
            "FORMAT",
            tar().ahead(b'L', b"a\0").ahead(b'L', b"b\0").file("x", b"").end(),
        ),
        (
            "GNU and PAX name",
            "FORMAT",
            tar().ahead(b'L', b"a\0").ahead(b'x', &pax("path", "b")).file("x", b"").end(),
        ),
        ("global name", "FORMAT", tar().ahead(b'g', &pax("path", "b")).file("x", b"").end()),
        ("damaged PAX", "FORMAT", tar().ahead(b'x', b"99 a=b\n").file("x", b"").end()),
        ("name and no entry", "TRUNCATED", tar().file("b", b"").ahead(b'L', b"a\0").end()),
        (
            "folder with content",
            "FORMAT",
            tar()
                .header(Header { kind: b'5', size: 512, ..Header::default() })
                .body(&[1; 512])
                .end(),
        ),
        ("negative size", "FORMAT", {
            let mut block = Header::default().block();
            block[124..136].fill(0xff);
            make::sum(&mut block);
            tar().raw(&block).end()
        }),
    ]
}

/// Sizes, on which a reader could spend memory and time.
fn bombs() -> Vec<Case> {
    let ahead = |kind, size| tar().header(Header { kind, size, ..Header::default() }).0;
    let big = Header { name: b"zeros", size: 64 << 20, ..Header::default() }.block();
    let mut many = tar();
    for it in 0..200_000_u32 {
        many = many.file(&format!("{:08x}", it.wrapping_mul(2_654_435_761)), b"");
    }
    // Few entries, but many folders: each path has 60 of its own.
    let implied =
        (0..2_000).fold(tar(), |tar, it| tar.file(&format!("{it}{}/x", "/d".repeat(40)), b""));
    vec![
        ("31", "RATIO", gzip_with_zeros(&big, 64)),
        ("31 behind the end", "RATIO", gzip_with_zeros(&tar().file("a", b"a").end(), 64)),
        ("34", "SIZE", gzip_with_zeros(&ahead(b'L', 1 << 30), 1024)),
        ("35", "SIZE", gzip_with_zeros(&ahead(b'x', 1 << 30), 1024)),
        ("36", "ENTRIES", gzip(&many.end())),
        ("36 implied folders", "accept", implied.clone().end()),
        ("36 too many implied folders", "ENTRIES", {
            let mut tar = implied;
            for it in 2_000..3_000 {
                tar = tar.file(&format!("{it}{}/x", "/d".repeat(43)), b"");
            }
            gzip(&tar.end())
        }),
    ]
}

fn zips() -> Vec<Case> {
    let file = |name: &str| Member::stored(name, 0o100_644, b"hello");
    let link = |name: &str, target: &str| Member::stored(name, 0o120_777, target.as_bytes());
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() - 10].to_vec();
    let mut lies = Member::zeros("a", 256);
    lies.size = 10;
    let mut bad_crc = file("a");
    bad_crc.crc ^= 1;
    let mut encrypted = zip(&[file("a")]);
    let central = encrypted.windows(4).position(|it| it == b"PK\x01\x02").unwrap();
    encrypted[central + 8] |= 1;
    let one = file("a");
    let fifty = (0..50).map(|_| one.central(0)).collect::<Vec<_>>().concat();
    let overlap =
        [file("a").central(0), Member { name: b"b".to_vec(), ..one.clone() }.central(0)].concat();
    let renamed = Member { name: b"b".to_vec(), ..one.clone() }.central(0);
    let gap = [one.local(), b"hidden".to_vec()].concat();
    let hidden = [one.local(), file("hidden").local()].concat();
    let mut miscounted = zip(&[file("a"), file("b")]);
    let end = miscounted.len() - 22;
    miscounted[end + 8..end + 12].copy_from_slice(&[1, 0, 1, 0]);
    vec![
        ("z01 ../x", "PATH", zip(&[file("../x")])),
        ("z01 absolute", "PATH", zip(&[file("/x")])),
        ("z01 ..\\x", "PATH", zip(&[file("..\\x")])),
        ("z01 drive", "PATH", zip(&[file("C:\\evil")])),
        ("z01 made on Windows", "PATH", zip(&[file("dir\\file")])),
        ("z02", "LINK", zip(&[link("d", "/tmp"), file("d/x")])),
        ("z03", "LINK", zip(&[link("d", "../..")])),
        ("z03 file through a harmless link", "LINK", zip(&[link("d", "s"), file("d/x")])),
        ("z03 device", "TYPE", zip(&[Member::stored("d", 0o020_644, b"")])),
        ("z05", "RATIO", zip(&[Member::zeros("a", 256)])),
        ("z06", "DUP", zip(&[file("a"), file("a")])),
        ("z07", "accept", zip(&[file("README"), file("readme")])),
        ("z08", "TRUNCATED", cut(zip(&[file("a")]))),
        ("z08 more", "TRUNCATED", zip(&[file("a")])[..20].to_vec()),
        ("z09", "DUP", make::end_zip(one.local(), &fifty, 50, b"")),
        ("z09 other name, same bytes", "DUP", make::end_zip(one.local(), &overlap, 2, b"")),
        ("z10", "SIZE", zip(&[lies])),
        ("z11", "FORMAT", [b"#!/bin/sh\nexit\n".to_vec(), zip(&[file("a")])].concat()),
        ("bytes after the end", "TRAILING", [zip(&[file("a")]), b"more".to_vec()].concat()),
        ("bytes between entries", "FORMAT", make::end_zip(gap, &one.central(0), 1, b"")),
        (
            "entry that the directory hides",
            "FORMAT",
            make::end_zip(hidden, &one.central(0), 1, b""),
        ),
        ("entry with another name", "FORMAT", make::end_zip(one.local(), &renamed, 1, b"")),
        ("directory that counts too few", "FORMAT", miscounted),
        ("wrong checksum", "DIGEST", zip(&[bad_crc])),
        ("encrypted", "FORMAT", encrypted),
        ("no entry", "FORMAT", zip(&[])),
        ("comment", "accept", make::end_zip(one.local(), &one.central(0), 1, b"0123abc")),
    ]
}

#[track_caller]
fn check(cases: Vec<Case>) {
    let mut wrong = String::new();
    for (name, expected, bytes) in cases {
        let stored = Stored::new(&bytes);
        drop(bytes);
        let verdict = within(Duration::from_secs(2), name, || verdict(&stored.path()));
        let expected = if expected == "accept" {
            expected.to_owned()
        } else {
            format!("SW-ARCHIVE-{expected}")
        };
        if verdict != expected {
            writeln!(wrong, "{name}: {verdict}, not {expected}").unwrap();
        }
        // The rewriter takes exactly what the scan takes.
        let written = slipway_archive::write_context(
            &stored.path(),
            &slipway_archive::Limits::default(),
            &Context::default(),
            &mut std::io::sink(),
        );
        assert_eq!(written.is_ok(), expected == "accept", "{name}: {written:?}");
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn names_links_and_types_are_refused_by_code() {
    check(names());
}

#[test]
fn broken_shapes_are_refused_by_code() {
    check(shapes());
}

#[test]
fn headers_with_two_meanings_are_refused_by_code() {
    check(headers());
}

#[test]
fn zips_are_refused_by_code() {
    check(zips());
}

#[test]
fn bombs_are_refused_by_code() {
    check(bombs());
}

#[test]
fn a_gib_of_name_or_attributes_takes_no_memory() {
    let ahead = |kind| tar().header(Header { kind, size: 1 << 30, ..Header::default() }).0;
    for kind in [b'L', b'K', b'x', b'g'] {
        let bytes = gzip_with_zeros(&ahead(kind), 1024);
        let stored = Stored::new(&bytes);
        assert_eq!(verdict(&stored.path()), "SW-ARCHIVE-SIZE");
    }
    let peak = peak_kib();
    assert!(peak < 64 << 10, "{peak} KiB");
}

#[test]
fn a_hundred_thousand_long_names_take_little_memory() {
    // Written piece by piece: this test measures its own process.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("archive");
    let mut file = std::io::BufWriter::new(fs::File::create(&path).unwrap());
    for it in 0..99_000 {
        let name = format!("{it:06}{}/", "n".repeat(240));
        let entry = tar().ahead(b'L', format!("{name}\0").as_bytes()).folder("x");
        std::io::Write::write_all(&mut file, &entry.0).unwrap();
    }
    std::io::Write::write_all(&mut file, &[0; 1024]).unwrap();
    drop(file.into_inner().unwrap());
    let limits = slipway_archive::Limits::default();
    let mut sink = std::io::sink();
    let summary =
        slipway_archive::write_context(&path, &limits, &Context::default(), &mut sink).unwrap();
    assert_eq!(summary.entries, 99_000);
    let peak = peak_kib();
    assert!(peak < 64 << 10, "{peak} KiB");
}

#[test]
fn what_is_odd_but_harmless_is_made_plain() {
    let mode = |name: &'static str, kind, mode, uid| Header {
        name: name.as_bytes(),
        kind,
        mode,
        uid,
        ..Header::default()
    };
    let odd = tar()
        .header(mode("./", b'5', 0, 0)) // 14
        .header(mode("setuid", b'0', 0o6755, 0)) // 08
        .header(mode("locked/", b'5', 0o555, 65_534)) // 18, 19
        .header(mode("locked/file", b'0', 0o400, 65_534))
        .file("implied/by/path", b"12345")
        .folder("implied/by")
        .link(b'2', "implied/link", "../locked/file")
        .link(b'1', "same", "setuid")
        .file(".git/config", b"")
        .file("sub/.git", b"")
        .header(mode("old/", 0, 0o755, 0))
        .ahead(b'g', &pax("comment", "a commit"))
        .ahead(b'x', &[pax("mtime", "1.5"), pax("path", &"long/".repeat(30))].concat())
        .folder("x")
        .end();
    let stored = Stored::new(&gzip(&odd));
    let summary = stored.scan().unwrap();
    assert_eq!(summary.format, Format::TarGz);
    assert_eq!(summary.warnings, [""; 0]);
    let listed = list(&stored.context(&Context::default()).unwrap());
    let expected = [
        "755 file setuid 0",
        "755 folder locked",
        "644 file locked/file 0",
        "755 folder implied",
        "755 folder implied/by",
        "644 file implied/by/path 5",
        "link implied/link -> ../locked/file",
        "same same = setuid",
        "755 folder old",
    ];
    assert_eq!(listed[..expected.len()], expected);
    assert_eq!(listed.len(), expected.len() + 30);
}

#[test]
fn a_zip_becomes_a_tar_with_its_folders_modes_and_links() {
    let members = [
        Member::stored("app/", 0o040_700, b""),
        Member::stored("app/run.sh", 0o106_755, b"#!/bin/sh\n"), // z04
        Member::stored("deep/er/file", 0, b"x"),
        Member::stored("app/link", 0o120_777, b"../deep/er/file"),
    ];
    let stored = Stored::new(&zip(&members));
    assert_eq!(stored.scan().unwrap().format, Format::Zip);
    let listed = list(&stored.context(&Context::default()).unwrap());
    assert_eq!(
        listed,
        [
            "755 folder app",
            "755 file app/run.sh 10",
            "755 folder deep",
            "755 folder deep/er",
            "644 file deep/er/file 1",
            "link app/link -> ../deep/er/file",
        ]
    );
}

#[test]
fn names_that_differ_by_case_are_taken_with_a_warning() {
    let names = ["README", "readme", "é", "e\u{301}"].map(|it| Member::stored(it, 0, b""));
    let summary = Stored::new(&zip(&names)).scan().unwrap();
    assert_eq!(summary.warnings.len(), 2, "{:?}", summary.warnings);
    assert!(summary.warnings[0].contains("`readme`"));
}

#[test]
fn a_refusal_names_the_entry_without_repeating_its_bytes() {
    let error = Stored::new(&tar().file("a\u{1b}[31m`\n", b"").end()).scan().unwrap_err();
    let problem = Problem::from(error);
    assert_eq!(problem.code, "SW-ARCHIVE-PATH");
    assert!(problem.message.starts_with("`a\\u{1b}[31m\\u{60}\\n` has a backslash"), "{problem}");
    assert!(problem.hint.is_some());
    let long = "x".repeat(70) + "/" + &"y".repeat(200) + "/../z";
    let error = Stored::new(&zip(&[Member::stored(&long, 0, b"")])).scan().unwrap_err();
    assert!(error.to_string().len() < 200, "{error}");
}

#[test]
fn lower_limits_hold() {
    let limits = slipway_archive::Limits { unpacked_bytes: 10, ratio: 2, entries: 2, depth: 2 };
    let code = |bytes: Vec<u8>| {
        scan(&Stored::new(&bytes).path(), &limits).map_err(|it| it.code().unwrap().as_str())
    };
    assert!(code(tar().file("a/b", &[1; 10]).end()).is_ok());
    assert_eq!(code(tar().file("a/b", &[1; 11]).end()), Err("SW-ARCHIVE-SIZE"));
    assert_eq!(code(tar().file("a/b", b"").file("c", b"").end()), Err("SW-ARCHIVE-ENTRIES"));
    assert_eq!(code(tar().file("a/b/c", b"").end()), Err("SW-ARCHIVE-DEPTH"));
}
