//! How the layers lie over one another, and what is refused.

use std::{collections::BTreeMap, fs};

use super::*;

fn load_from(file: Option<&str>, vars: &[(&str, &str)], flags: Layer) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.toml");
    let vars: BTreeMap<_, _> = vars.iter().copied().collect();
    let config = file.map(|text| {
        fs::write(&path, text).unwrap();
        path.clone()
    });
    load_with(Flags { config, layer: flags }, |name| vars.get(name).map(|it| (*it).to_owned()))
        .map_err(|error| {
            slipway_host::Chain(&error).to_string().replace(&path.display().to_string(), "FILE")
        })
}

#[test]
fn flags_lie_over_the_environment_over_the_file() {
    let file = "http-port = 1\nstate-dir = \"/file\"\nruntime-dir = \"/file\"\n";
    let vars = [("SLIPWAY_AGENT_STATE_DIR", "/env"), ("SLIPWAY_AGENT_RUNTIME_DIR", "/env")];
    let flags = Layer { runtime_dir: Some("/flag".into()), ..Layer::default() };
    let config = load_from(Some(file), &vars, flags).unwrap();
    assert_eq!(config.nginx.http_port, 1);
    assert_eq!(config.state_dir, Path::new("/env"));
    assert_eq!(config.runtime_dir, Path::new("/flag"));
    assert_eq!(config.forward.listen, Path::new("/flag/forward.sock"));
    assert_eq!(config.nginx.dir, Path::new("/env/nginx"));
}

#[test]
fn wrong_settings_are_refused_with_their_place() {
    for (file, expected) in [
        (
            "state_dir = \"/x\"",
            "`FILE`, line 1: there is no setting `state_dir`; did you mean `state-dir`?",
        ),
        ("[bases]\ncobol = \"x\"", "`FILE`, line 2: unknown field `cobol`"),
        ("state-dir = \"x\"", "setting `state-dir`: must be an absolute path"),
        ("app-ports = \"1-2\"", "setting `app-ports`"),
        ("http-port = 20500", "setting `http-port`"),
        ("network-pool = \"8.8.0.0/16\"", "setting `network-pool`: must be private"),
        ("network-pool = \"10.0.0.1/16\"", "setting `network-pool`: has bits set"),
        ("network-pool = \"10.0.0.0/28\"", "setting `network-pool`: must have 8 to 24 bits"),
        ("advertise = \"a b:1\"", "setting `advertise`"),
        ("address = \"a;b\"", "setting `address`"),
        ("nginx-mode = \"both\"", "`FILE`, line 1: "),
    ] {
        let problem = load_from(Some(file), &[], Layer::default()).unwrap_err();
        assert!(problem.starts_with(expected), "{file}: {problem}");
    }
    let vars = [("SLIPWAY_AGENT_LISTEN", "here")];
    let problem = load_from(None, &vars, Layer::default()).unwrap_err();
    assert!(problem.starts_with("variable `SLIPWAY_AGENT_LISTEN`: "), "{problem}");
}

#[test]
fn a_file_that_was_named_has_to_exist() {
    let flags = Flags { config: Some("/nonexistent/agent.toml".into()), ..Flags::default() };
    let error = load_with(flags, |_| None).unwrap_err();
    assert_eq!(error.to_string(), "there is no configuration file `/nonexistent/agent.toml`");
}

#[test]
fn the_packaged_file_explains_every_setting_with_its_default() {
    let text = include_str!("../../../packaging/agent/agent.toml");
    let uncommented: String = text
        .lines()
        .filter_map(|it| it.strip_prefix('#'))
        .filter(|it| !it.starts_with(' '))
        .fold(String::new(), |all, line| all + line + "\n");
    let config = load_from(Some(&uncommented), &[], Layer::default()).unwrap();
    let default = load_from(None, &[], Layer::default()).unwrap();
    assert_eq!(format!("{config:?}"), format!("{default:?}"));
    for key in layer::KEYS {
        assert!(text.contains(key), "{key} is not explained");
    }
}
