//! The invariants of ARCHITECTURE.md that a few lines can check.

use std::{collections::BTreeMap, fs, path::Path, path::PathBuf};

/// Every crate of ours: its name, folder and direct dependencies outside tests.
fn crates() -> BTreeMap<String, (PathBuf, Vec<String>)> {
    let root = root();
    let workspace = parse(&root.join("Cargo.toml"));
    let members = workspace["workspace"]["members"].as_array().unwrap();
    members
        .iter()
        .map(|it| {
            let folder = root.join(it.as_str().unwrap());
            let manifest = parse(&folder.join("Cargo.toml"));
            let name = manifest["package"]["name"].as_str().unwrap().to_owned();
            let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
            let dependencies = dependencies.into_iter().flatten().map(|(name, _)| name.clone());
            (name, (folder, dependencies.collect()))
        })
        .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn parse(path: &Path) -> toml::Value {
    toml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
    found
}

#[track_caller]
fn only(dependency: &str, allowed: &[&str]) {
    for (name, (_, dependencies)) in crates() {
        let depends = dependencies.iter().any(|it| it == dependency);
        let may = allowed.contains(&name.as_str()) || name == "slipway-tests";
        assert!(!depends || may, "{name} depends on {dependency}");
    }
}

#[test]
fn each_outside_thing_has_one_home() {
    only("bollard", &["slipway-engine"]);
    only("sqlx", &["slipway-store"]);
    only("git2", &["slipway-git"]);
    only("rcgen", &["slipway-control", "slipway-agent", "slipway-transport"]);
}

#[test]
fn the_contract_stands_alone() {
    let all = crates();
    let ours = |it: &&String| it.starts_with("slipway-");
    assert_eq!(all["slipway-proto"].1.iter().filter(ours).count(), 0);
    for (name, forbidden) in
        [("slipway-agent", "slipway-control"), ("slipway-control", "slipway-agent")]
    {
        assert!(!all[name].1.iter().any(|it| it == forbidden), "{name} depends on {forbidden}");
    }
    for pure in ["slipway-cloudinit", "slipway-dockerfile"] {
        for source in sources(&all[pure].0.join("src")) {
            let text = fs::read_to_string(&source).unwrap();
            for word in ["std::fs", "TcpStream", "UdpSocket", "tokio", "std::process"] {
                assert!(!text.contains(word), "{} does I/O: {word}", source.display());
            }
        }
    }
}

#[test]
fn no_program_is_started_by_a_shell() {
    for source in sources(&root()) {
        if source.ends_with("tests/it/house.rs") {
            continue;
        }
        let text = fs::read_to_string(&source).unwrap();
        for word in ["\"sh\"", "\"bash\"", "\"/bin/sh\"", "\"/bin/bash\""] {
            for line in text.lines().filter(|it| it.contains(word)) {
                // What runs inside a container is the image's business.
                let in_container = line.contains("/* in the container */") || line.contains("[\"");
                assert!(in_container, "{}: {line}", source.display());
            }
        }
    }
}
