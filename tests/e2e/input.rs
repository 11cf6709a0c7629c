//! Bad input is refused with its code, and nothing of it is left.

use std::io::Write as _;

use slipway_tests::{lab::Lab, sample};

/// What is asked for, and the code that must come back.
const REFUSED: &[(&[&str], &str)] = &[
    (&["-n", "A"], "SW-NAME"),
    (&["-n", "a-"], "SW-NAME"),
    (&["-n", "a_b"], "SW-NAME"),
    (&["-n", ".."], "SW-NAME"),
    (&["-n", "a;id"], "SW-NAME"),
    (&["-n", "$(id)"], "SW-NAME"),
    (&["-n", "a\nb"], "SW-NAME"),
    (&["-n", "é"], "SW-NAME"),
    (&["-n", "slipway"], "SW-NAME-RESERVED"),
    (&["-d", "Prod"], "SW-NAME"),
    (&["-p", "0"], "SW-PORT"),
    (&["-p", "65536"], "SW-PORT"),
    (&["-p", "80;"], "SW-PORT"),
    (&["-p", "0x50"], "SW-PORT"),
    (&["-e", "1A=x"], "SW-ENV"),
    (&["-e", "A-B=x"], "SW-ENV"),
    (&["-e", "SLIPWAY_X=x"], "SW-ENV"),
    (&["--domain", "*.x.com"], "SW-DOMAIN"),
    (&["--domain", "localhost"], "SW-DOMAIN"),
    (&["--domain", "a.com;return 200"], "SW-DOMAIN"),
    (&["--domain", "127.0.0.1"], "SW-DOMAIN"),
    (&["--health-path", "up"], "SW-HEALTH"),
    (&["--replicas", "21"], "SW-REPLICAS"),
    (&["--volume", "data"], "SW-VOLUME"),
    (&["--volume", "data:/../etc"], "SW-"),
    (&["--memory", "1m"], "SW-MEMORY"),
    (&["--cpus", "0.001"], "SW-CPUS"),
    (&["-s", "nowhere"], "SW-SERVER"),
];

/// The same for sources without a folder.
const SOURCES: &[(&[&str], &str)] = &[
    (&["--git", "file:///etc"], "SW-GIT-SCHEME"),
    (&["--git", "ssh://-oProxyCommand=x/y"], "SW-GIT"),
    (&["--git", "ext::sh -c id"], "SW-GIT"),
    (&["--git", "https://u:p@example.com/x"], "SW-GIT-USERINFO"),
    (&["--git", "http://169.254.169.254/x"], "SW-GIT"),
    (&["--git", "https://example.com/x", "--ref=--help"], "SW-REF"),
    (&["--git", "https://example.com/x", "--ref", "a..b"], "SW-REF"),
    (&["--git", "https://example.com/x", "--ref", "main;id"], "SW-REF"),
    (&["--image", "UPPER/x"], "SW-IMAGE"),
    (&["--image", "x:tag:tag"], "SW-IMAGE"),
    (&["--image", "../x"], "SW-IMAGE"),
    (&["--image", "x@sha256:zz"], "SW-IMAGE"),
    (&["--image", "169.254.169.254/x"], "SW-IMAGE"),
];

#[tokio::test]
async fn bad_input_is_refused_with_its_code_and_leaves_nothing() {
    let lab = Lab::start().await.unwrap();
    let site = sample::site();
    let site = site.to_str().unwrap();
    for (flags, code) in REFUSED {
        let name: &[&str] = if flags.contains(&"-n") { &[] } else { &["-n", "web"] };
        let args: Vec<&str> =
            ["deploy", site].iter().chain(name).chain(flags.iter()).copied().collect();
        lab.slipway(&args).await.unwrap().refused(code).unwrap();
    }
    for (flags, code) in SOURCES {
        let args: Vec<&str> = ["deploy", "-n", "web"].iter().chain(flags.iter()).copied().collect();
        lab.slipway(&args).await.unwrap().refused(code).unwrap();
    }
    let ls = lab.slipway(&["ls", "--json"]).await.unwrap();
    let apps: Vec<serde_json::Value> = serde_json::from_str(&ls.stdout).unwrap();
    assert!(apps.iter().all(|it| it["release"] == 0), "{ls}");
}

#[tokio::test]
async fn archives_that_lie_are_refused() {
    let lab = Lab::start().await.unwrap();
    let path = |name: &str| lab.scratch().join(name);
    std::fs::write(path("text.tar"), "this is no archive\n").unwrap();
    std::fs::write(path("empty.tar"), "").unwrap();
    std::fs::write(path("up.tar"), tar_of("../../etc/cron.d/x")).unwrap();
    std::fs::write(path("cut.tar"), &tar_of("Dockerfile")[..700]).unwrap();
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    let mut header = tar::Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_size(64 << 20);
    header.set_mode(0o644);
    header.set_cksum();
    bomb.write_all(header.as_bytes()).unwrap();
    (0..64).for_each(|_| bomb.write_all(&zeros).unwrap());
    bomb.write_all(&[0; 1024]).unwrap();
    std::fs::write(path("bomb.tar.gz"), bomb.finish().unwrap()).unwrap();
    for (name, code) in [
        ("text.tar", "SW-ARCHIVE-FORMAT"),
        ("empty.tar", "SW-"),
        ("up.tar", "SW-ARCHIVE-PATH"),
        ("cut.tar", "SW-ARCHIVE"),
        ("bomb.tar.gz", "SW-ARCHIVE-RATIO"),
    ] {
        let path = path(name);
        let args = ["deploy", path.to_str().unwrap(), "-n", "web"];
        lab.slipway(&args).await.unwrap().refused(code).unwrap();
    }
}

fn tar_of(name: &str) -> Vec<u8> {
    let content = b"FROM busybox:latest\n";
    let mut header = tar::Header::new_gnu();
    // By hand: the crate refuses such names.
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(u64::try_from(content.len()).unwrap());
    header.set_mode(0o644);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(1024 + 1024, 0);
    bytes
}
