//! `slipway dev up`: starts what does not run, in the order in which one needs the other, and waits
//! until all of it answers. Safe to repeat.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;
use slipway_host::Secret;
use slipway_proto::control::v1 as wire;
use tokio::time::{Instant, sleep};

use super::{
    Shell, Where, enroll,
    place::{Place, Settings},
    process::{self, Mark},
};
use crate::cli::{
    Error,
    connect::Client,
    context::{Context, Contexts, Entry},
    output::{Paint, Spinner},
};

/// For how long each part may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);

/// Start a control plane and an agent on this machine.
///
/// Needs root, Docker and nginx; everything it makes is in one folder, and `slipway dev down --purge`
/// takes it away again. The settings are kept; flags change them at the next start.
#[derive(clap::Args, Debug, Default)]
pub struct Args {
    /// Which one.
    #[command(flatten)]
    pub place: Where,
    /// What this machine is called in the URLs of apps [default: 127.0.0.1]
    #[arg(long, value_name = "HOST")]
    pub address: Option<String>,
    /// Port for apps with a domain [default: 80, or 8080 when that is taken]
    #[arg(long, value_name = "PORT")]
    pub apps_port: Option<u16>,
    /// Ports for apps without a domain [default: 20000-20999]
    #[arg(long, value_name = "RANGE")]
    pub app_ports: Option<String>,
    /// Port of the control plane's HTTP [default: 7080]
    #[arg(long, value_name = "PORT")]
    pub http_port: Option<u16>,
    /// Port of the control plane's gRPC [default: 7443]
    #[arg(long, value_name = "PORT")]
    pub grpc_port: Option<u16>,
    /// Port of the agent [default: 9999]
    #[arg(long, value_name = "PORT")]
    pub agent_port: Option<u16>,
    /// Name of the context that is written [default: dev]
    #[arg(long, value_name = "NAME")]
    pub context_name: Option<String>,
    /// How names in Docker begin; installations that share a Docker need their own [default: slipway]
    #[arg(long, value_name = "PREFIX")]
    pub name_prefix: Option<String>,
    /// Network out of which apps get theirs [default: 10.213.0.0/16]
    #[arg(long, value_name = "NETWORK")]
    pub network_pool: Option<String>,
}

/// Runs the verb.
pub(super) async fn run(args: Args, shell: &Shell<'_>) -> Result<(), Error> {
    let place = Place::of(&args.place, shell.environment)?;
    let agent = agent_program()?;
    check_machine()?;
    let settings = settings(&args, place.settings()?.unwrap_or_default());
    place.save(&settings)?;
    let spinner = Spinner::start(shell.output, "starting the control plane");
    control(&place, &settings).await?;
    let client = log_in(&place, &settings, shell).await?;
    spinner.say("joining this machine");
    enroll::ensure(&client, &place, &settings, &agent).await?;
    spinner.say("starting the agent");
    let config = place.agent_toml().display().to_string();
    for (name, verb) in [("proxy", "proxy"), ("agent", "run")] {
        if process::find(&place, name)?.is_none() {
            let args = [verb.to_owned(), "--config".to_owned(), config.clone()];
            process::start(&place, name, &agent, &args)?;
        }
    }
    online(&client, &place).await?;
    spinner.end();
    report(&place, &settings, shell)
}

fn settings(args: &Args, kept: Settings) -> Settings {
    let mut it = kept;
    it.apps_port = args.apps_port.unwrap_or(it.apps_port);
    let ports = [
        (args.http_port, &mut it.http),
        (args.grpc_port, &mut it.grpc),
        (args.agent_port, &mut it.agent),
    ];
    for (port, address) in ports {
        if let Some(port) = port {
            address.set_port(port);
        }
    }
    let texts = [
        (&args.app_ports, &mut it.app_ports),
        (&args.context_name, &mut it.context),
        (&args.address, &mut it.address),
        (&args.name_prefix, &mut it.name_prefix),
        (&args.network_pool, &mut it.network_pool),
    ];
    for (given, kept) in texts {
        if let Some(given) = given {
            kept.clone_from(given);
        }
    }
    it
}

/// The agent comes in the same folder as this program.
fn agent_program() -> Result<PathBuf, Error> {
    let own = std::env::current_exe()
        .map_err(|error| Error::local(format!("this program cannot find itself: {error}"), ""))?;
    let beside = own.with_file_name("slipway-agent");
    if beside.is_file() {
        return Ok(beside);
    }
    Err(Error::local(
        format!("there is no `slipway-agent` beside {}", own.display()),
        "install both programs into one folder",
    ))
}

/// What is missing here is better said now than found in a log.
fn check_machine() -> Result<(), Error> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::local("the agent needs root", "run `sudo slipway dev up`"));
    }
    let needs = [
        (
            "/var/run/docker.sock",
            "Docker does not run here",
            "apt-get install docker.io, and start dockerd",
        ),
        ("/usr/sbin/nginx", "nginx is not installed here", "apt-get install nginx-light"),
    ];
    for (path, message, hint) in needs {
        if !Path::new(path).exists() {
            return Err(Error::local(message, hint));
        }
    }
    Ok(())
}

async fn control(place: &Place, settings: &Settings) -> Result<(), Error> {
    let mark = match process::find(place, "control")? {
        Some(mark) => mark,
        None => start_control(place, settings)?,
    };
    wait(place, "control", &mark, settings.grpc).await
}

fn start_control(place: &Place, settings: &Settings) -> Result<Mark, Error> {
    let own = std::env::current_exe()
        .map_err(|error| Error::local(format!("this program cannot find itself: {error}"), ""))?;
    let text = |path: PathBuf| path.display().to_string();
    let args = [
        "serve".to_owned(),
        "--data-dir".to_owned(),
        text(place.control_dir()),
        "--http".to_owned(),
        settings.http.to_string(),
        "--grpc".to_owned(),
        settings.grpc.to_string(),
        "--public-url".to_owned(),
        format!("https://{}", settings.grpc),
        "--bootstrap-token-file".to_owned(),
        text(place.token()),
    ];
    process::start(place, "control", &own, &args)
}

/// Waits until a port answers, or its program ends.
async fn wait(place: &Place, name: &str, mark: &Mark, address: SocketAddr) -> Result<(), Error> {
    let start = Instant::now();
    while tokio::net::TcpStream::connect(address).await.is_err() {
        if !mark.runs() || start.elapsed() > PATIENCE {
            return Err(process::ended(place, name));
        }
        sleep(LOOK).await;
    }
    Ok(())
}

/// Writes the context and calls with it.
async fn log_in(place: &Place, settings: &Settings, shell: &Shell<'_>) -> Result<Client, Error> {
    let path = place.token();
    let mut contexts = Contexts::load(shell.environment)?;
    let url = format!("https://{}", settings.grpc);
    let start = Instant::now();
    loop {
        let read = slipway_host::fs::read_limited(&path, 4 << 10)
            .map_err(|source| Error::File { action: "read", path: path.clone(), source })?;
        let token = read.map(|it| String::from_utf8_lossy(&it).trim().to_owned());
        let kept = contexts.contexts.get(&settings.context).map(|it| it.token.clone());
        let late = start.elapsed() > PATIENCE;
        if let Some(token) = token.or(kept) {
            let context = Context {
                name: settings.context.clone(),
                url: url.clone(),
                token: Secret::new(token.clone()),
            };
            let client = Client::connect(&context)?;
            match client.users().get_me(wire::GetMeRequest {}).await {
                Ok(_) => {
                    contexts.contexts.insert(settings.context.clone(), Entry { url, token });
                    contexts.current = Some(settings.context.clone());
                    contexts.save(shell.environment)?;
                    return Ok(client);
                }
                Err(status) if late => return Err(status.into()),
                Err(_) => (),
            }
        } else if late {
            return Err(process::ended(place, "control"));
        }
        sleep(LOOK).await;
    }
}

/// Waits until the server's session lives and its agent finds nothing wrong.
async fn online(client: &Client, place: &Place) -> Result<(), Error> {
    let start = Instant::now();
    loop {
        let request = wire::CheckHealthRequest { server: enroll::SERVER.to_owned() };
        let answer = client.servers().check_health(request).await.map(tonic::Response::into_inner);
        let found = match &answer {
            Ok(it)
                if it.server.as_ref().is_some_and(|it| it.state() == wire::ServerState::Online) =>
            {
                match &it.health {
                    Some(health) if health.healthy => return Ok(()),
                    Some(health) => health.problems.join("; "),
                    None => it.error.clone(),
                }
            }
            Ok(it) => it.error.clone(),
            Err(status) => status.message().to_owned(),
        };
        for name in ["proxy", "agent"] {
            if process::find(place, name)?.is_none() {
                return Err(process::ended(place, name));
            }
        }
        if start.elapsed() > PATIENCE {
            return Err(Error::local(
                format!("the agent is not ready: {found}"),
                format!("see {}", place.log("agent").display()),
            ));
        }
        sleep(LOOK).await;
    }
}

fn report(place: &Place, settings: &Settings, shell: &Shell<'_>) -> Result<(), Error> {
    let output = shell.output;
    if output.json() {
        return output.document(&json!({
            "context": settings.context,
            "http": format!("http://{}", settings.http),
            "grpc": format!("https://{}", settings.grpc),
            "agent": settings.agent,
            "apps_port": settings.apps_port,
            "folder": place.dir(),
        }));
    }
    let facts = [
        ("control plane", format!("https://{} (gRPC), http://{}", settings.grpc, settings.http)),
        ("server", format!("`{}`, agent at {}", enroll::SERVER, settings.agent)),
        (
            "apps",
            format!("port {} by domain, others on {}", settings.apps_port, settings.app_ports),
        ),
        ("context", format!("`{}`, used from now on", settings.context)),
        ("everything is in", place.dir().display().to_string()),
    ];
    output.note(format!("{} Slipway runs on this machine", output.paint_note(Paint::Good, "✓")));
    for (name, value) in facts {
        output.note(format!("  {} {value}", output.paint_note(Paint::Dim, &format!("{name:<16}"))));
    }
    output.note("  next: `slipway deploy` in the folder of an app, then `slipway ls`");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_change_what_was_kept_and_nothing_else() {
        let kept = Settings { address: "box".to_owned(), ..Settings::default() };
        let args = Args { grpc_port: Some(9443), apps_port: Some(8088), ..Args::default() };
        let made = settings(&args, kept.clone());
        assert_eq!(made.grpc.port(), 9443);
        assert_eq!((made.apps_port, made.address.as_str()), (8088, "box"));
        assert_eq!(made.http, kept.http);
    }
}
