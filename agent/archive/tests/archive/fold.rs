//! Folders made into archives, and contexts made of archives with something put in.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use slipway_archive::{
    Context, Leave, Limits, Packing, Times, pack_dir, read_files, verify, write_context,
};

use crate::{
    make::{Member, Tar, gzip, zip},
    read::{Stored, list},
};

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn pack(dir: &Path, packing: &Packing<'_>) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let packed =
        pack_dir(dir, &Limits::default(), packing, &mut out).map_err(|it| it.to_string())?;
    let stored = Stored::new(&out);
    verify(&stored.path(), packed.size_bytes, &packed.sha256).unwrap();
    let put_in: usize = packing.extra.iter().map(|(_, bytes)| bytes.len()).sum();
    let found = stored.scan().unwrap().unpacked_bytes;
    assert_eq!(found, packed.summary.unpacked_bytes + u64::try_from(put_in).unwrap());
    Ok(out)
}

#[test]
fn a_folder_is_packed_sorted_without_git_and_always_alike() {
    let dir =
        folder(&[("z", "1"), ("a/b", "22"), (".git/config", "x"), ("a/.git", "x"), ("é", "")]);
    let script = dir.path().join("run.sh");
    fs::write(&script, "x").unwrap();
    fs::set_permissions(&script, PermissionsExt::from_mode(0o4711)).unwrap();
    symlink("a/b", dir.path().join("link")).unwrap();
    let packing = Packing { times: Times::At(1_700_000_000), ..Packing::default() };
    let out = pack(dir.path(), &packing).unwrap();
    assert_eq!(
        list(&out),
        [
            "755 folder a",
            "644 file a/b 2",
            "link link -> a/b",
            "755 file run.sh 1",
            "644 file z 1",
            "644 file é 0",
        ]
    );
    // With one time for all, not even a copy made later differs.
    fs::write(dir.path().join("z"), "1").unwrap();
    assert_eq!(pack(dir.path(), &packing).unwrap(), out);
    assert_ne!(pack(dir.path(), &Packing::default()).unwrap(), out);
}

#[test]
fn the_first_ignore_file_counts_and_a_checkout_has_none() {
    let files = [
        (".gitignore", "b\n"),
        (".dockerignore", "**/a\nsub\n!sub/keep\n"),
        ("a", ""),
        ("b", ""),
        ("sub/a", ""),
        ("sub/keep", ""),
        ("sub/drop", ""),
    ];
    let dir = folder(&files);
    let out = pack(dir.path(), &Packing::default()).unwrap();
    assert_eq!(
        list(&out),
        [
            "644 file .dockerignore 19",
            "644 file .gitignore 2",
            "644 file b 0",
            "755 folder sub",
            "644 file sub/keep 0",
        ]
    );
    let all = Packing { leave: Leave::Nothing, ..Packing::default() };
    assert_eq!(list(&pack(dir.path(), &all).unwrap()).len(), 8);
    fs::write(dir.path().join(".slipwayignore"), "*\n!a\n").unwrap();
    let out = pack(dir.path(), &Packing::default()).unwrap();
    assert_eq!(list(&out), ["644 file a 0"]);
}

#[test]
fn a_link_is_never_followed() {
    let outside = folder(&[("sentinel", "secret")]);
    for (target, refused) in [
        (outside.path().join("sentinel"), true),
        (outside.path().to_owned(), true),
        ("../sentinel".into(), true),
        ("inside".into(), false),
    ] {
        let dir = folder(&[("x", "")]);
        symlink(&target, dir.path().join("link")).unwrap();
        let out = pack(dir.path(), &Packing::default());
        assert_eq!(out.is_err(), refused, "{}", target.display());
        match out {
            Ok(out) => assert_eq!(list(&out), ["link link -> inside", "644 file x 0"]),
            Err(error) => assert!(error.starts_with("`link` links to "), "{error}"),
        }
    }
}

#[test]
fn sockets_are_left_out_with_a_warning() {
    let dir = folder(&[("x", "")]);
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    let mut out = Vec::new();
    let packed = pack_dir(dir.path(), &Limits::default(), &Packing::default(), &mut out).unwrap();
    assert_eq!(packed.summary.warnings, ["`socket` is not a regular file and is left out"]);
    assert_eq!(list(&out), ["644 file x 0"]);
}

#[test]
fn a_folder_that_the_server_would_refuse_is_refused_here() {
    let dir = folder(&[("a\\b", "")]);
    let error = pack(dir.path(), &Packing::default()).unwrap_err();
    assert!(error.starts_with("`a\\\\b` has a backslash"), "{error}");
    let dir = folder(&[("big", "12345")]);
    let limits = Limits { unpacked_bytes: 4, ..Limits::default() };
    let error = pack_dir(dir.path(), &limits, &Packing::default(), &mut Vec::new()).unwrap_err();
    assert_eq!(error.code().unwrap().as_str(), "SW-ARCHIVE-SIZE");
}

#[test]
fn a_dockerfile_that_is_put_in_replaces_the_one_there_is() {
    let archive = Tar::default().file("Dockerfile", b"FROM old").file("a", b"").end();
    let extra: &[(&str, &[u8])] = &[("Dockerfile", b"FROM new!"), (".slipway/x", b"1")];
    let context = Context { extra, ..Context::default() };
    let listed = list(&Stored::new(&archive).context(&context).unwrap());
    let expected =
        ["644 file Dockerfile 9", "755 folder .slipway", "644 file .slipway/x 1", "644 file a 0"];
    assert_eq!(listed, expected);
    let dir = folder(&[("Dockerfile", "FROM old"), ("a", "")]);
    let out = pack(dir.path(), &Packing { extra, ..Packing::default() }).unwrap();
    assert_eq!(list(&out), expected);
    for bad in [Tar::default().folder("Dockerfile"), Tar::default().file("Dockerfile/x", b"")] {
        let error = Stored::new(&bad.end()).context(&context).unwrap_err();
        assert_eq!(error.code().unwrap().as_str(), "SW-ARCHIVE-DUP");
    }
}

#[test]
fn the_folder_that_a_forge_adds_is_taken_off() {
    let file = |name: &str| Member::stored(name, 0, b"x");
    let archive = zip(&[file("app-main/package.json"), file("app-main/a/b"), file("__MACOSX/._x")]);
    let stored = Stored::new(&archive);
    let summary = stored.scan().unwrap();
    assert_eq!(summary.root(&["go.mod"]), "");
    let root = summary.root(&["package.json"]);
    assert_eq!(root, "app-main");
    let found =
        read_files(&stored.path(), &Limits::default(), root, &["package.json", "none"]).unwrap();
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [("package.json".to_owned(), b"x".to_vec())]);
    let listed = list(&stored.context(&Context { root, ..Context::default() }).unwrap());
    assert_eq!(listed, ["644 file package.json 1", "755 folder a", "644 file a/b 1"]);
    let whole = Stored::new(&zip(&[file("package.json"), file("app/package.json")]));
    assert_eq!(whole.scan().unwrap().root(&["package.json"]), "");
}

#[test]
fn a_link_may_not_leave_the_folder_that_is_taken_off() {
    let archive = Tar::default().file("app/go.mod", b"").link(b'2', "app/l", "../x").end();
    let stored = Stored::new(&archive);
    assert_eq!(stored.scan().unwrap().root(&["go.mod"]), "app");
    let error = stored.context(&Context { root: "app", ..Context::default() }).unwrap_err();
    assert_eq!(error.code().unwrap().as_str(), "SW-ARCHIVE-LINK");
}

#[test]
fn a_long_file_is_not_read_and_a_wrong_digest_is_named() {
    let archive = gzip(&Tar::default().file("a", &vec![7; 600 << 10]).file("b", b"b").end());
    let stored = Stored::new(&archive);
    let found = read_files(&stored.path(), &Limits::default(), "", &["a", "b"]).unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), ["b"]);
    let size = u64::try_from(archive.len()).unwrap();
    for (size, digest) in [(size, [0; 32]), (size + 1, [0; 32])] {
        let error = verify(&stored.path(), size, &digest).unwrap_err();
        assert_eq!(error.code().unwrap().as_str(), "SW-ARCHIVE-DIGEST");
    }
}

#[test]
fn a_reader_that_goes_away_is_told_apart() {
    struct Gone;
    impl std::io::Write for Gone {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let stored = Stored::new(&Tar::default().file("a", b"a").end());
    let error = write_context(&stored.path(), &Limits::default(), &Context::default(), &mut Gone)
        .unwrap_err();
    assert_eq!(slipway_proto::problem::Problem::from(error).code, "SW-CANCELED");
}
