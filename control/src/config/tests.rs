//! What the layers make together.

use std::collections::HashMap;

use clap::Parser as _;

use super::*;

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
}

fn load(args: &str, vars: &[(&str, &str)]) -> Result<Config, String> {
    let args = std::iter::once("serve").chain(args.split_whitespace());
    let flags = Cli::try_parse_from(args).map_err(|it| it.to_string())?.flags;
    let vars: HashMap<_, _> =
        vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    load_with(flags, |name| vars.get(name).cloned()).map_err(|it| it.to_string())
}

#[test]
fn everything_has_a_default() {
    let config = load("", &[]).unwrap();
    assert_eq!(config.data_dir, PathBuf::from("/var/lib/slipway"));
    assert_eq!(config.database_url.expose(), "sqlite:///var/lib/slipway/slipway.db");
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:7080");
    assert_eq!(config.grpc.to_string(), "0.0.0.0:7443");
    assert_eq!(config.enroll_timeout, Duration::from_secs(600));
    assert_eq!(config.master_key, Place::State("/var/lib/slipway/master-key".into()));
    assert_eq!(config.droplet.region, "lon1");
}

#[test]
fn flags_win_over_variables_and_variables_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("control.toml");
    std::fs::write(&file, "grpc = '127.0.0.1:1'\nhttp = '127.0.0.1:1'\nenroll-timeout = '1s'\n")
        .unwrap();
    let args = format!("--config {} --grpc 127.0.0.1:3", file.display());
    let vars = [("SLIPWAY_GRPC", "127.0.0.1:2"), ("SLIPWAY_HTTP", "127.0.0.1:2")];
    let config = load(&args, &vars).unwrap();
    assert_eq!(config.grpc.port(), 3);
    assert_eq!(config.http.listen.port(), 2);
    assert_eq!(config.enroll_timeout, Duration::from_secs(1));
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_one() {
    for (text, expected) in [
        ("# x\ngrpc_ = '127.0.0.1:1'", "line 2: there is no setting `grpc_`; did you mean `grpc`?"),
        ("data_dir = '/x'", "line 1: there is no setting `data_dir`; did you mean `data-dir`?"),
        ("\n\nqqqqqqqq = 1", "line 3: there is no setting `qqqqqqqq`"),
        ("[serve]\nx = 1", "line 1: there is no setting `serve`"),
    ] {
        assert_eq!(file::parse(text).unwrap_err(), expected);
    }
}

#[test]
fn a_wrong_value_is_refused_with_its_line() {
    let problem = file::parse("http = '127.0.0.1:1'\ngrpc = 'nowhere'").unwrap_err();
    assert!(problem.starts_with("line 2: "), "{problem}");
    let problem = file::parse("enroll-timeout = '10'").unwrap_err();
    assert_eq!(problem, "line 1: `10` needs a unit: `90s`, `10m` or `2h`");
}

#[test]
fn every_key_of_the_list_is_a_setting() {
    for key in file::KEYS {
        let number = if key.ends_with("ids") { "[1]" } else { "true" };
        let values = ["'127.0.0.1:1'", "'5s'", "'json'", number];
        assert!(values.iter().any(|it| file::parse(&format!("{key} = {it}")).is_ok()), "{key}");
    }
}

#[test]
fn http_is_not_open_to_the_network() {
    assert!(load("--http 0.0.0.0:7080", &[]).unwrap_err().contains("--http-behind-proxy"));
    let proxied = load("--http 0.0.0.0:7080 --http-behind-proxy", &[]).unwrap();
    assert_eq!(proxied.http.exposure, Exposure::BehindProxy);
    let tls = load("--http 0.0.0.0:7080 --http-tls-cert /c --http-tls-key /k", &[]).unwrap();
    assert!(matches!(tls.http.exposure, Exposure::Tls { .. }));
    assert!(load("--http-tls-cert /c", &[]).unwrap_err().contains("http-tls-key"));
}

#[test]
fn a_token_comes_from_a_value_or_a_file_and_is_not_printed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "dop_v1_file\n").unwrap();
    let file = file.to_str().unwrap();
    let config = load("", &[("DO_API_TOKEN_FILE", file)]).unwrap();
    assert_eq!(config.do_token.as_ref().unwrap().expose(), "dop_v1_file");
    assert!(!format!("{config:?}").contains("dop_v1_file"));
    let twice = load("", &[("DO_API_TOKEN_FILE", file), ("DO_API_TOKEN", "dop_v1_x")]);
    assert!(twice.unwrap_err().contains("given twice"));
}

#[test]
fn the_old_name_of_the_public_url_still_works() {
    let config = load("", &[("ENGINE_WS_URL", "https://c.example:7443")]).unwrap();
    assert_eq!(config.public_url.unwrap().as_str(), "https://c.example:7443/");
    for wrong in ["http://c.example", "https://u:p@c.example", "https://c.example/x", "c.example"] {
        assert!(load("", &[("SLIPWAY_PUBLIC_URL", wrong)]).is_err(), "{wrong}");
    }
}
