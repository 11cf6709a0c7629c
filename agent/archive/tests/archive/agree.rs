//! What is accepted means the same to every reader, and stays where it is unpacked.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use proptest::{collection::vec, prelude::*};
use slipway_archive::Context;
use slipway_host::exec::Program;

use crate::{
    make::{Header, Member, Tar, gzip, pax, zip},
    read::{Stored, list},
};

const LIMIT: Duration = Duration::from_secs(30);
const PYTHON_TAR: &str = "import sys,tarfile
for m in tarfile.open(sys.argv[1]).getmembers(): print(m.name)";
const PYTHON_ZIP: &str = "import sys,zipfile
z=zipfile.ZipFile(sys.argv[1]); z.testzip()
for n in z.namelist(): print(n)";

fn run(program: &Program) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let output = runtime.block_on(program.run(LIMIT)).unwrap();
    assert!(output.ok(), "{program:?}: {}", output.stderr);
    output.stdout
}

/// The names that a program printed, spelled as we do.
fn names(printed: &str) -> BTreeSet<String> {
    let plain = |it: &str| {
        it.split('/').filter(|it| !matches!(*it, "" | ".")).collect::<Vec<_>>().join("/")
    };
    printed.lines().map(plain).filter(|it| !it.is_empty()).collect()
}

/// The names that we wrote, without the folders that `theirs` only implies.
fn ours(tar: &[u8], theirs: &BTreeSet<String>) -> BTreeSet<String> {
    list(tar)
        .into_iter()
        .filter_map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            let (is_folder, name) = match words[..] {
                ["link" | "same", name, ..] => (false, name),
                [_, "folder", name] => (true, name),
                [_, "file", name, _] => (false, name),
                _ => panic!("{line}"),
            };
            (!is_folder || theirs.contains(name)).then(|| name.to_owned())
        })
        .collect()
}

/// Unpacks without any of GNU tar's own protection, and looks around.
fn nothing_escapes(context: &[u8]) {
    let canary = tempfile::tempdir().unwrap();
    let inside = canary.path().join("a/b/inside");
    fs::create_dir_all(&inside).unwrap();
    let file = canary.path().join("context");
    fs::write(&file, context).unwrap();
    run(&Program::new("tar").args(["-xPf"]).arg(&file).arg("-C").arg(&inside));
    let around = |dir: &Path| {
        fs::read_dir(dir).unwrap().map(|it| it.unwrap().file_name()).collect::<BTreeSet<_>>()
    };
    assert_eq!(around(canary.path()), ["a", "context"].map(Into::into).into());
    assert_eq!(around(&canary.path().join("a")), ["b".into()].into());
    assert_eq!(around(&canary.path().join("a/b")), ["inside".into()].into());
    let mut folders = vec![inside.clone()];
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(folder).unwrap() {
            let path = item.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            if meta.is_dir() {
                folders.push(path);
            } else if let Ok(end) = path.canonicalize() {
                assert!(end.starts_with(&inside), "{} leads to {}", path.display(), end.display());
            }
        }
    }
}

/// What must hold for any bytes.
fn check(bytes: &[u8], python: &str) {
    let stored = Stored::new(bytes);
    let Ok(summary) = stored.scan() else {
        assert!(stored.context(&Context::default()).is_err());
        return;
    };
    let context = stored.context(&Context::default()).unwrap();
    let again = Stored::new(&context).scan().unwrap();
    assert_eq!((again.files, again.unpacked_bytes), (summary.files, summary.unpacked_bytes));
    assert_eq!(again.names, summary.names);
    // A second time changes nothing.
    assert_eq!(Stored::new(&context).context(&Context::default()).unwrap(), context);
    let theirs = names(&run(&Program::new("python3").args(["-c", python]).arg(stored.path())));
    assert_eq!(ours(&context, &theirs), theirs);
    if python == PYTHON_TAR {
        let gnu = Program::new("tar").args(["--quoting-style=literal", "-tf"]).arg(stored.path());
        assert_eq!(names(&run(&gnu.var("LC_ALL", "C.UTF-8"))), theirs);
    }
    nothing_escapes(&context);
}

#[derive(Clone, Debug)]
enum Piece {
    File(String, usize),
    Folder(String),
    Link(u8, String, String),
    Ahead(u8, Vec<u8>),
    Odd(u8, String, u64),
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[abc](/[abc]){0,3}",
        1 => "[abc]{101,140}",
        1 => "(\\./|/|\\.\\./)?[abé](/\\.\\.)?(/[ab])?",
    ]
}

fn piece() -> impl Strategy<Value = Piece> {
    let target = prop_oneof![name(), "(\\.\\./){0,3}[abc]?", "[ab]/\\.\\./[ab]"];
    let kind = prop_oneof![Just(b'1'), Just(b'2')];
    prop_oneof![
        6 => (name(), 0..1500_usize).prop_map(|(name, size)| Piece::File(name, size)),
        2 => name().prop_map(Piece::Folder),
        3 => (kind, name(), target).prop_map(|(kind, name, target)| Piece::Link(kind, name, target)),
        1 => name().prop_map(|name| Piece::Ahead(b'L', format!("{name}\0").into_bytes())),
        1 => name().prop_map(|name| Piece::Ahead(b'x', pax("path", &name))),
        1 => ("mtime|size|comment|linkpath", "[0-9a]{1,4}")
            .prop_map(|(key, value)| Piece::Ahead(b'x', pax(&key, &value))),
        1 => (any::<u8>(), name(), 0..2_u64).prop_map(|(kind, name, size)| Piece::Odd(kind, name, size)),
    ]
}

fn tar(pieces: &[Piece]) -> Vec<u8> {
    let short = |name: &str| name.len() <= 100;
    let mut tar = Tar::default();
    for piece in pieces {
        tar = match piece {
            Piece::File(name, size) if short(name) => tar.file(name, &vec![b'x'; *size]),
            Piece::Folder(name) if short(name) => tar.folder(name),
            Piece::Link(kind, name, target) if short(name) && short(target) => {
                tar.link(*kind, name, target)
            }
            Piece::Ahead(kind, body) => tar.ahead(*kind, body),
            Piece::Odd(kind, name, size) if short(name) => {
                let header =
                    Header { name: name.as_bytes(), kind: *kind, size: *size, ..Header::default() };
                tar.header(header).body(&vec![b'x'; usize::try_from(*size).unwrap()])
            }
            Piece::File(name, _)
            | Piece::Folder(name)
            | Piece::Link(_, name, _)
            | Piece::Odd(_, name, _) => {
                tar.ahead(b'L', format!("{name}\0").as_bytes()).file("x", b"")
            }
        };
    }
    tar.end()
}

/// Changes single bytes; in tar headers, with the checksum made right again.
fn mutate(bytes: &mut [u8], changes: &[(prop::sample::Index, u8)]) {
    for (at, value) in changes {
        let at = at.index(bytes.len());
        bytes[at] = *value;
        let start = at / 512 * 512;
        if let Some(block) = bytes.get_mut(start..start + 512)
            && block[257..262] == *b"ustar"
        {
            crate::make::sum(block.try_into().unwrap());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_accepted_tar_is_the_same_to_all_and_stays_inside(pieces in vec(piece(), 0..6), packed: bool) {
        let bytes = tar(&pieces);
        check(&if packed { gzip(&bytes) } else { bytes }, PYTHON_TAR);
    }

    #[test]
    fn a_changed_tar_is_refused_or_still_the_same_to_all(
        pieces in vec(piece(), 1..4),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = tar(&pieces);
        mutate(&mut bytes, &changes);
        check(&bytes, PYTHON_TAR);
    }

    #[test]
    fn an_accepted_zip_is_the_same_to_python_and_stays_inside(
        files in vec((name(), prop_oneof![Just(0_u32), Just(0o100_755), Just(0o120_777), Just(0o040_755)], "[abc./]{0,6}"), 0..5),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let members: Vec<_> = files
            .iter()
            .map(|(name, mode, data)| {
                let is_folder = *mode == 0o040_755;
                let name = if is_folder { format!("{name}/") } else { name.clone() };
                Member::stored(&name, *mode, if is_folder { b"" } else { data.as_bytes() })
            })
            .collect();
        let mut bytes = zip(&members);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        check(&bytes, PYTHON_ZIP);
    }

    #[test]
    fn any_bytes_are_refused_or_read_without_a_panic(
        start in prop_oneof![Just(&b""[..]), Just(&b"\x1f\x8b\x08\0"[..]), Just(&b"PK\x03\x04"[..])],
        bytes in vec(any::<u8>(), 0..3000),
    ) {
        let stored = Stored::new(&[start, &bytes[..]].concat());
        let refused = stored.scan().is_err();
        prop_assert!(refused);
    }
}

#[test]
fn archives_of_common_programs_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    fs::create_dir_all(source.join("a/b")).unwrap();
    fs::write(source.join("a/b/c"), "hello").unwrap();
    fs::write(source.join("a").join("n".repeat(200)), "long").unwrap();
    std::os::unix::fs::symlink("b/c", source.join("a/link")).unwrap();
    fs::hard_link(source.join("a/b/c"), source.join("a/same")).unwrap();
    let python = "import sys,tarfile,zipfile,os
t=tarfile.open('py.tar.gz','w:gz'); t.add('source','.'); t.close()
t=tarfile.open('gnu.tar','w',format=tarfile.GNU_FORMAT); t.add('source','x'); t.close()
z=zipfile.ZipFile('py.zip','w',zipfile.ZIP_DEFLATED)
for d,_,fs in os.walk('source'):
  z.write(d)
  for f in fs: z.write(os.path.join(d,f))
z.close()
z=zipfile.ZipFile(open('stream.zip','wb'),'w',zipfile.ZIP_DEFLATED)
with z.open('streamed','w',force_zip64=True) as f: f.write(b'x'*100)
z.close()";
    let here = dir.path().display();
    run(&Program::new("python3").args(["-c", &format!("import os; os.chdir('{here}')\n{python}")]));
    let tar = || Program::new("tar").arg("-C").arg(dir.path());
    run(&tar().args(["-cf"]).arg(dir.path().join("plain.tar")).arg("source"));
    run(&tar().args(["--format=pax", "-czf"]).arg(dir.path().join("pax.tgz")).arg("source"));
    run(&tar().args(["--format=v7", "-cf"]).arg(dir.path().join("v7.tar")).arg("source/a/b"));
    let git = || Program::new("git").arg("-C").arg(&source);
    run(&git().args(["init", "-q"]));
    run(&git().args(["add", "-A"]));
    run(&git().args(["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]));
    for (name, format) in [("git.tgz", "tar.gz"), ("git.zip", "zip"), ("git.tar", "tar")] {
        let out = format!("{here}/{name}");
        run(&git().args(["archive", "--prefix=app/", "--format", format, "-o", &out, "HEAD"]));
    }
    let names = [
        "py.tar.gz",
        "gnu.tar",
        "py.zip",
        "stream.zip",
        "plain.tar",
        "pax.tgz",
        "v7.tar",
        "git.tgz",
        "git.zip",
        "git.tar",
    ];
    for name in names {
        let bytes = fs::read(dir.path().join(name)).unwrap();
        let stored = Stored::new(&bytes);
        let summary = stored.scan().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(0 < summary.files, "{name}");
        check(&bytes, if name.ends_with("zip") { PYTHON_ZIP } else { PYTHON_TAR });
    }
}
