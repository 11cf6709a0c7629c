//! nginx's text, and nginx itself: a real one for each test, in a folder of its own.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener as StdListener},
    path::Path,
    slice::from_ref,
    time::Duration,
};

use expect_test::expect_file;
use proptest::{collection::vec, prelude::*};
use slipway_forward::{Config, Forwarder, Route, Switch as _};
use slipway_proto::value::{AppKey, Domain, Port};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{
    AppRoute, Applied, Mode, Nginx, Settings,
    master::Master,
    probe,
    render::{MAIN, render},
    tree::Trees,
};

const LIMIT: Duration = Duration::from_secs(10);

fn route(app: &str, domains: &[&str], port: Option<u16>) -> AppRoute {
    let domains = domains.iter().map(|it| Domain::parse(it).unwrap()).collect();
    let port = port.map(|it| Port::try_from(u32::from(it)).unwrap());
    AppRoute::new(app.parse().unwrap(), domains, port)
}

fn settings(dir: &Path) -> Settings {
    let mut settings = Settings::own(dir, &dir.join("proxy.sock"));
    settings.listen = vec![free()];
    settings.app_addresses = vec!["127.0.0.1".parse().unwrap()];
    settings
}

fn free() -> SocketAddr {
    StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn golden(mode: Mode) -> Settings {
    Settings {
        mode,
        program: "/usr/sbin/nginx".into(),
        dir: "/var/lib/slipway-agent/nginx".into(),
        user: Some("www-data".to_owned()),
        listen: vec!["0.0.0.0:80".parse().unwrap(), "[::]:80".parse().unwrap()],
        app_addresses: vec!["0.0.0.0".parse().unwrap(), "10.1.2.3".parse().unwrap()],
        switch: "/run/slipway/proxy.sock".into(),
    }
}

#[test]
fn the_text_is_what_we_mean() {
    let routes = [
        route("web", &["example.com", "www.example.com"], None),
        route("web.staging", &[], Some(20_001)),
        AppRoute {
            max_body_bytes: 1 << 20,
            timeout: Duration::from_secs(7),
            ..route("both", &["both.example.com"], Some(20_002))
        },
    ];
    let own = render(&golden(Mode::Own), &routes).unwrap();
    let text = |it: &str| &own.files[it];
    expect_file!["golden/nginx.conf"].assert_eq(text("nginx.conf"));
    expect_file!["golden/base.conf"].assert_eq(text("conf.d/00-slipway.conf"));
    expect_file!["golden/web.conf"].assert_eq(text("conf.d/web.conf"));
    expect_file!["golden/web.staging.conf"].assert_eq(text("conf.d/web.staging.conf"));
    expect_file!["golden/both.conf"].assert_eq(text("conf.d/both.conf"));
    let system = render(&golden(Mode::system()), &routes).unwrap();
    expect_file!["golden/base-system.conf"].assert_eq(&system.files["conf.d/00-slipway.conf"]);
}

#[tokio::test]
async fn nginx_accepts_the_text() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let long = format!("{0}.{0}.{0}.example.com", "a".repeat(63));
    let routes: Vec<AppRoute> = (0..50)
        .map(|nth| {
            route(&format!("app-{nth}"), &[&format!("a{nth}.example.com")], Some(20_000 + nth))
        })
        .chain([route("long", &[&long], None)])
        .collect();
    let trees = Trees::open(dir.path()).unwrap();
    let tree = trees.stage(&render(&settings, &routes).unwrap()).unwrap();
    let master = Master::new(&settings, trees.main());
    master.test(&tree.join(MAIN)).await.unwrap();
    // And the test is one that can fail.
    std::fs::write(tree.join("conf.d/bad.conf"), "server {").unwrap();
    let problem = master.test(&tree.join(MAIN)).await.unwrap_err();
    assert_eq!(problem.code, "SW-PROXY-CONFIG");
}

#[test]
fn two_apps_on_one_name_or_port_are_refused() {
    let settings = golden(Mode::Own);
    let names = [route("a", &["x.example.com"], None), route("b", &["x.example.com"], None)];
    let problem = render(&settings, &names).unwrap_err();
    assert_eq!(problem.code, "SW-DOMAIN-TAKEN");
    let ports = [route("a", &[], Some(20_000)), route("b", &[], Some(20_000))];
    assert_eq!(render(&settings, &ports).unwrap_err().code, "SW-PORT-IN-USE");
}

#[test]
fn a_path_that_is_more_than_a_word_is_refused() {
    for path in ["/a b", "/a;b", "/a{", "/a$b", "/a\"", "a", "/é", "/a\nb"] {
        let settings = Settings { switch: path.into(), ..golden(Mode::Own) };
        assert_eq!(render(&settings, &[]).unwrap_err().code, "SW-PROXY-PATH", "{path}");
    }
}

/// What nginx makes of a text: words, blocks, ends. Strings in quotes are one word.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for line in text.lines().filter(|it| !it.trim_start().starts_with('#')) {
        for it in line.chars() {
            match it {
                '"' => quoted = !quoted,
                ';' | '{' | '}' if !quoted => {
                    tokens.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
                    tokens.push(it.to_string());
                }
                it if it.is_whitespace() && !quoted => {
                    tokens.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
                }
                it => word.push(it),
            }
        }
        if !quoted {
            tokens.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
        }
    }
    tokens
}

/// The blocks and directives of a text, without their arguments.
fn shape(text: &str) -> Vec<String> {
    let mut shape = Vec::new();
    let mut first = true;
    for token in tokens(text) {
        let end = matches!(token.as_str(), ";" | "{" | "}");
        if first || end {
            shape.push(token);
        }
        first = end;
    }
    shape
}

/// Anything a caller might send for a name: well-formed, nearly so, and hostile.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]([a-z0-9-]{0,8}[a-z0-9])?",
        "[a-z0-9-]{1,8}(\\.[a-z0-9-]{1,8}){1,3}",
        "[a-z.;{}$\"'\\\\# \n\t\r_*~^/-]{1,24}",
        "\\PC{1,16}",
        Just("a.com; } server { listen 1; } server { server_name b.com".to_owned()),
    ]
}

proptest! {
    /// Whatever the types accept, the text has the blocks and directives of a harmless one.
    #[test]
    fn no_accepted_value_can_open_a_block_or_end_a_directive(
        app in hostile(),
        environment in hostile(),
        names in vec(hostile(), 1..4),
        port in any::<u32>(),
        max_body_bytes in any::<u64>(),
        secs in any::<u64>(),
    ) {
        let app = AppKey::new(&app, &environment).or_else(|_| AppKey::new(&app, ""));
        let Ok(app) = app else { return Ok(()) };
        let domains: Vec<Domain> = names.iter().filter_map(|it| Domain::parse(it).ok()).collect();
        let port = Port::try_from(port % 70_000).ok();
        let harmless = AppRoute {
            app: AppKey::new("web", "").unwrap(),
            domains: domains.iter().take(1).map(|_| Domain::parse("a.example.com").unwrap()).collect(),
            port: port.map(|_| Port::try_from(20_000).unwrap()),
            ..route("web", &[], None)
        };
        let given = AppRoute {
            app: app.clone(), domains, port, max_body_bytes, timeout: Duration::from_secs(secs),
        };
        let settings = golden(Mode::Own);
        let expected = render(&settings, &[harmless]).unwrap();
        let found = render(&settings, &[given]).unwrap();
        let name = format!("conf.d/{app}.conf");
        prop_assert!(!name.contains("..") && name.matches('/').count() == 1, "{}", name);
        let text = &found.files[&name];
        prop_assert_eq!(shape(text), shape(&expected.files["conf.d/web.conf"]));
        let both: BTreeMap<_, _> = found.files.iter().filter(|it| *it.0 != name).collect();
        prop_assert_eq!(both.len(), 2);
    }
}

/// An nginx with a switch beneath it and one app that answers each request with its name.
struct Rig {
    dir: TempDir,
    settings: Settings,
    nginx: Nginx,
    switch: Forwarder,
    client: slipway_forward::Client,
    apps: JoinSet<()>,
}

impl Rig {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The workers are another user.
        slipway_host::fs::make_dir(dir.path(), 0o755).unwrap();
        let settings = settings(&dir.path().join("nginx"));
        std::fs::create_dir(dir.path().join("nginx")).unwrap();
        let config =
            Config { listen: settings.switch.clone(), ..Config::new(dir.path(), dir.path()) };
        let client = slipway_forward::Client::new(&config.control);
        let switch = Forwarder::start(config, None).await.unwrap();
        let nginx = Nginx::open(settings.clone()).unwrap();
        Self { dir, settings, nginx, switch, client, apps: JoinSet::new() }
    }

    /// Starts an app that answers with what it was asked.
    async fn app(&mut self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        self.apps.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") {
                    asked.push(stream.read_u8().await.unwrap());
                }
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", asked.len());
                stream.write_all(head.as_bytes()).await.unwrap();
                stream.write_all(&asked).await.unwrap();
            }
        });
        address
    }

    async fn end(self) {
        self.nginx.stop().await.unwrap();
        assert!(!self.nginx.is_running());
        self.switch.finish().await;
    }
}

#[tokio::test]
async fn an_app_is_served_by_name_and_by_port_and_seen_after_a_switch() {
    let mut rig = Rig::start().await;
    let (named, ported) = (route("web", &["web.example.com"], None), free().port());
    let ported = route("web.staging", &[], Some(ported));
    let routes = [named.clone(), ported.clone()];
    assert_eq!(rig.nginx.apply(&routes).await.unwrap(), Applied::Started);
    let before = rig.nginx.probe(&named, "1", "/", Duration::ZERO).await.unwrap_err();
    assert_eq!(before.code, "SW-PROXY-PROBE");
    assert!(before.message.contains("unknown-app"), "{before}");

    let (first, second) = (rig.app().await, rig.app().await);
    rig.client.set("web", &Route::new(1, [first])).await.unwrap();
    rig.client.set("web.staging", &Route::new(1, [second])).await.unwrap();
    rig.nginx.probe(&named, "1", "/", LIMIT).await.unwrap();
    rig.nginx.probe(&ported, "1", "/", LIMIT).await.unwrap();
    rig.client.set("web", &Route::new(2, [second])).await.unwrap();
    rig.nginx.probe(&named, "2", "/", LIMIT).await.unwrap();
    assert!(rig.nginx.probe(&named, "1", "/", Duration::ZERO).await.is_err());

    // What the app sees: who asked is set by nginx, our own headers stay here.
    let seen = raw(
        rig.settings.listen[0],
        "GET /x HTTP/1.1\r\nHost: web.example.com\r\nSlipway-App: other\r\nX-Forwarded-For: 9.9.9.9\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(seen.contains("GET /x HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("X-Forwarded-For: 127.0.0.1\r\n"), "{seen}");
    assert!(seen.contains("Host: web.example.com\r\n"), "{seen}");
    assert!(!seen.contains("Slipway-") && !seen.contains("9.9.9.9"), "{seen}");
    let unknown = probe::get(rig.settings.listen[0], "nobody.example.com", "/").await;
    assert_eq!(unknown.unwrap_err(), "nginx says 404");
    rig.end().await;
}

async fn raw(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn nginx_is_left_alone_when_nothing_changed_and_found_again_by_the_next_agent() {
    let rig = Rig::start().await;
    let web = route("web", &["web.example.com"], None);
    assert_eq!(rig.nginx.apply(from_ref(&web)).await.unwrap(), Applied::Started);
    assert_eq!(rig.nginx.apply(from_ref(&web)).await.unwrap(), Applied::Unchanged);
    let again = Nginx::open(rig.settings.clone()).unwrap();
    assert_eq!(again.apply(from_ref(&web)).await.unwrap(), Applied::Unchanged);
    let other = route("other", &["other.example.com"], None);
    assert_eq!(again.apply(&[web.clone(), other]).await.unwrap(), Applied::Reloaded);
    assert_eq!(again.apply(from_ref(&web)).await.unwrap(), Applied::Reloaded);
    assert_eq!(std::fs::read_dir(rig.settings.dir.join("trees")).unwrap().count(), 1);

    // A process id of somebody else is not nginx.
    again.stop().await.unwrap();
    std::fs::write(rig.settings.dir.join("nginx.pid"), std::process::id().to_string()).unwrap();
    assert!(!again.is_running());
    assert_eq!(again.apply(&[web]).await.unwrap(), Applied::Started);
    rig.end().await;
}

#[tokio::test]
async fn a_taken_port_is_named_and_everything_else_goes_on() {
    let rig = Rig::start().await;
    let web = route("web", &["web.example.com"], None);
    rig.nginx.apply(from_ref(&web)).await.unwrap();
    let stranger = StdListener::bind("127.0.0.1:0").unwrap();
    let port = stranger.local_addr().unwrap().port();
    let blocked = route("blocked", &[], Some(port));
    let problem = rig.nginx.apply(&[web.clone(), blocked.clone()]).await.unwrap_err();
    assert_eq!(problem.code, "SW-PORT-IN-USE");
    assert!(problem.message.contains(&port.to_string()), "{problem}");
    assert_eq!(rig.nginx.apply(from_ref(&web)).await.unwrap(), Applied::Unchanged);
    drop(stranger);
    assert_eq!(rig.nginx.apply(&[web, blocked]).await.unwrap(), Applied::Reloaded);
    rig.end().await;
}

#[tokio::test]
async fn a_configuration_that_nginx_refuses_is_withdrawn() {
    let rig = Rig::start().await;
    let web = route("web", &["web.example.com"], None);
    rig.nginx.apply(from_ref(&web)).await.unwrap();
    // Only `nginx -t` can tell that there is no such user.
    let broken = Settings { user: Some("no-such-user".to_owned()), ..rig.settings.clone() };
    let nginx = Nginx::open(broken).unwrap();
    let problem = nginx.apply(from_ref(&web)).await.unwrap_err();
    assert_eq!(problem.code, "SW-PROXY-CONFIG");
    assert!(problem.message.contains("no-such-user"), "{problem}");
    assert_eq!(rig.nginx.apply(&[web]).await.unwrap(), Applied::Unchanged);
    rig.end().await;
}

#[tokio::test]
async fn an_nginx_of_the_distribution_includes_us() {
    let rig = Rig::start().await;
    let dir = rig.dir.path().join("etc");
    std::fs::create_dir_all(dir.join("conf.d")).unwrap();
    let stranger = free();
    let (main, pid) = (dir.join("nginx.conf"), dir.join("nginx.pid"));
    let text = format!(
        "pid {}; error_log {}/error.log; events {{}} http {{ gzip on; access_log off; include {}/conf.d/*.conf; server {{ listen {stranger} default_server; return 200 stranger; }} }}",
        pid.display(),
        dir.display(),
        dir.display(),
    );
    std::fs::write(&main, text).unwrap();
    let mode = Mode::System { main: main.clone(), include: dir.join("conf.d/slipway.conf"), pid };
    let settings = Settings { mode, ..rig.settings.clone() };
    let nginx = Nginx::open(settings.clone()).unwrap();
    let web = route("web", &["web.example.com"], None);
    let problem = nginx.apply(from_ref(&web)).await.unwrap_err();
    assert_eq!(problem.code, "SW-PROXY-DOWN");

    let started = slipway_host::exec::Program::new(&settings.program).arg("-c").arg(&main);
    assert!(started.run(LIMIT).await.unwrap().ok());
    assert_eq!(nginx.apply(from_ref(&web)).await.unwrap(), Applied::Reloaded);
    assert_eq!(nginx.apply(from_ref(&web)).await.unwrap(), Applied::Unchanged);
    let other = probe::get(stranger, "anything", "/").await;
    assert_eq!(other.unwrap(), "stranger");

    // Somebody breaks their part: ours is not put in force on top of that.
    let mut broken = std::fs::read_to_string(&main).unwrap();
    broken.push_str("nonsense;");
    std::fs::write(&main, broken).unwrap();
    let problem = nginx.apply(&[]).await.unwrap_err();
    assert_eq!(problem.code, "SW-PROXY-CONFIG");
    assert_eq!(nginx.apply(&[web]).await.unwrap(), Applied::Unchanged);

    let stopped = slipway_host::exec::Program::new(&settings.program).args(["-s", "stop", "-c"]);
    std::fs::write(&main, std::fs::read_to_string(&main).unwrap().replace("nonsense;", ""))
        .unwrap();
    assert!(stopped.arg(&main).run(LIMIT).await.unwrap().ok());
    rig.end().await;
}
