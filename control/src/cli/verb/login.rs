//! `slipway login`: remembers a control plane, after a call has shown that the token opens it.

use std::io::{self, IsTerminal as _, Read as _};

use slipway_host::Secret;
use slipway_proto::control::v1 as wire;

use super::Shell;
use crate::cli::{
    Error,
    connect::Client,
    context::{Context, Contexts, Entry},
    output,
};

/// Remember a control plane and how to get in.
///
/// The token comes from `SLIPWAY_TOKEN`, from standard input, or is asked for at a terminal; never from
/// the command line, where other users could read it.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Where the control plane's gRPC listener is, such as `https://control.example.com:7443`
    #[arg(value_name = "URL")]
    pub url: String,
    /// Name of the context [default: the host's name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

const LONGEST_TOKEN: u64 = 4 << 10;

/// Runs the verb.
pub(super) async fn run(args: Args, shell: &Shell<'_>) -> Result<(), Error> {
    let token = token(shell)?;
    let url = crate::cli::connect::full_url(&args.url)?;
    let name = args.name.unwrap_or_else(|| host(&url));
    let context =
        Context { name: name.clone(), url: url.clone(), token: Secret::new(token.clone()) };
    let client = Client::connect(&context)?;
    let me = client.users().get_me(wire::GetMeRequest {}).await?.into_inner();
    let mut contexts = Contexts::load(shell.environment)?;
    contexts.contexts.insert(name.clone(), Entry { url, token });
    contexts.current = Some(name.clone());
    contexts.save(shell.environment)?;
    let user = me.user.unwrap_or_default().name;
    shell
        .output
        .note(format!("logged in as `{user}`; this is context `{name}` and is used from now on"));
    Ok(())
}

fn token(shell: &Shell<'_>) -> Result<String, Error> {
    if let Some(token) = shell.environment.get("SLIPWAY_TOKEN") {
        return Ok(token.to_owned());
    }
    if io::stdin().is_terminal() {
        shell.output.prompt("API token (swp_…): ");
        return hidden().map(|it| it.trim().to_owned());
    }
    let mut text = String::new();
    io::stdin()
        .lock()
        .take(LONGEST_TOKEN)
        .read_to_string(&mut text)
        .map_err(|error| Error::local(format!("could not read standard input: {error}"), ""))?;
    Some(text.trim().to_owned()).filter(|it| !it.is_empty()).ok_or_else(|| {
        Error::Usage(
            "a token is missing: set SLIPWAY_TOKEN or write it to standard input".to_owned(),
        )
    })
}

/// Reads a line that the terminal does not show.
fn hidden() -> Result<String, Error> {
    use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
    let stdin = io::stdin();
    let Ok(before) = tcgetattr(&stdin) else { return output::read_line() };
    let mut silent = before.clone();
    silent.local_flags.remove(LocalFlags::ECHO);
    let quiet = tcsetattr(&stdin, SetArg::TCSANOW, &silent).is_ok();
    let line = output::read_line();
    if quiet {
        // The terminal was there a moment ago; should it be gone, nobody minds its echo.
        tcsetattr(&stdin, SetArg::TCSANOW, &before).unwrap_or_default();
    }
    line
}

fn host(url: &str) -> String {
    let parsed = url::Url::parse(url).ok();
    parsed.as_ref().and_then(url::Url::host_str).unwrap_or("default").to_owned()
}
