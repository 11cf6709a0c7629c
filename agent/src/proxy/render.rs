//! From settings and routes to nginx's text. Reads nothing and changes nothing.
//!
//! A value reaches a template only out of a type whose grammar has no space, quote, semicolon, brace or
//! `$`; paths and the user's name, which have no such type, are checked here.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    path::Path,
};

use minijinja::{Environment, UndefinedBehavior, context, syntax::SyntaxConfig};
use sha2::{Digest as _, Sha256};
use slipway_proto::problem::{Kind, Problem};

use super::{AppRoute, Mode, Settings};

/// Name of the main file within a tree.
pub(crate) const MAIN: &str = "nginx.conf";
/// Name under which nginx tells which revision it runs; no app can have it.
pub(crate) const STATUS_HOST: &str = "status.slipway.invalid";

/// More than nginx can count.
const MAX_BODY_BYTES: u64 = 1 << 40;
/// A day.
const MAX_TIMEOUT_SECS: u64 = 86_400;

const MAIN_TEMPLATE: &str = include_str!("templates/nginx.conf.j2");
const BASE_TEMPLATE: &str = include_str!("templates/base.conf.j2");
const APP_TEMPLATE: &str = include_str!("templates/app.conf.j2");

/// All files of a configuration, by path within their folder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Rendered {
    pub(crate) files: BTreeMap<String, String>,
    /// Tells this configuration from others.
    pub(crate) revision: String,
    /// Where nginx listens with it.
    pub(crate) listens: Vec<SocketAddr>,
}

/// Renders all files.
pub(crate) fn render(settings: &Settings, routes: &[AppRoute]) -> Result<Rendered, Problem> {
    check(settings)?;
    check_unique(routes)?;
    let mut apps: Vec<&AppRoute> = routes.iter().collect();
    apps.sort_by_key(|it| it.app.to_string());

    let mut files = BTreeMap::new();
    for it in &apps {
        files.insert(format!("conf.d/{}.conf", it.app), render_app(settings, it)?);
    }
    files.insert(MAIN.to_owned(), render_main(settings)?);
    // Without the revision first, so that it can be made from everything else.
    let base = render_base(settings, "")?;
    let mut digest = Sha256::new();
    for (name, text) in files.iter().chain([(&"base".to_owned(), &base)]) {
        digest.update(name.as_bytes());
        digest.update([0]);
        digest.update(text.as_bytes());
        digest.update([0]);
    }
    let mut revision = hex::encode(digest.finalize());
    revision.truncate(32);
    // Sorts before every app: `0` is below all letters.
    files.insert("conf.d/00-slipway.conf".to_owned(), render_base(settings, &revision)?);
    Ok(Rendered { files, revision, listens: listens(settings, &apps) })
}

fn listens(settings: &Settings, apps: &[&AppRoute]) -> Vec<SocketAddr> {
    let ports = apps.iter().filter_map(|it| it.port);
    let own = ports.flat_map(|port| {
        settings.app_addresses.iter().map(move |it| SocketAddr::new(*it, port.get()))
    });
    settings.listen.iter().copied().chain(own).collect()
}

fn render_main(settings: &Settings) -> Result<String, Problem> {
    let dir = settings.dir.to_string_lossy();
    fill(MAIN_TEMPLATE, context! { dir => dir, user => settings.user.clone() })
}

fn render_base(settings: &Settings, revision: &str) -> Result<String, Problem> {
    let listen: Vec<String> = settings.listen.iter().map(ToString::to_string).collect();
    let mut local: Vec<String> = settings
        .listen
        .iter()
        .map(SocketAddr::ip)
        .chain(settings.app_addresses.iter().copied())
        .filter(|it| !it.is_unspecified() && !it.is_loopback())
        .map(|it| it.to_string())
        .collect();
    local.sort_unstable();
    local.dedup();
    let context = context! {
        switch => settings.switch.to_string_lossy(),
        listen => listen,
        default_server => settings.mode == Mode::Own,
        local => local,
        status_host => STATUS_HOST,
        revision => revision,
    };
    fill(BASE_TEMPLATE, context)
}

fn render_app(settings: &Settings, route: &AppRoute) -> Result<String, Problem> {
    let AppRoute { app, domains, port, max_body_bytes, timeout } = route;
    let own: Vec<String> = port
        .iter()
        .flat_map(|port| settings.app_addresses.iter().map(|it| SocketAddr::new(*it, port.get())))
        .map(|it| it.to_string())
        .collect();
    let listen: Vec<String> = settings.listen.iter().map(ToString::to_string).collect();
    let names: Vec<String> = domains.iter().map(ToString::to_string).collect();
    let mut servers = Vec::new();
    if !names.is_empty() {
        servers.push(context! { listen => listen, names => names });
    }
    if !own.is_empty() {
        servers.push(context! { listen => own, names => vec!["_"] });
    }
    let context = context! {
        app => app.to_string(),
        servers => servers,
        max_body_bytes => max_body_bytes.min(&MAX_BODY_BYTES),
        timeout_secs => timeout.as_secs().clamp(1, MAX_TIMEOUT_SECS),
    };
    fill(APP_TEMPLATE, context)
}

fn fill(template: &str, context: minijinja::Value) -> Result<String, Problem> {
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build();
    let rendered = syntax.and_then(|syntax| {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_syntax(syntax);
        environment.render_str(template, context)
    });
    rendered.map_err(|error| {
        Problem::internal(format!("could not render nginx's configuration: {error}"))
    })
}

/// Refuses settings that nginx would read as more than one word.
fn check(settings: &Settings) -> Result<(), Problem> {
    for path in [&settings.dir, &settings.switch] {
        if !is_plain(path) {
            let message = format!("nginx cannot use the path `{}`", path.display());
            return Err(Problem::new(Kind::Invalid, "SW-PROXY-PATH", message)
                .hint("use an absolute path of letters, digits, `.`, `_`, `-` and `/`"));
        }
    }
    let word = |it: &String| {
        !it.is_empty() && it.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if settings.user.as_ref().is_some_and(|it| !word(it)) {
        return Err(Problem::new(Kind::Invalid, "SW-PROXY-USER", "nginx cannot run as that user"));
    }
    Ok(())
}

fn is_plain(path: &Path) -> bool {
    let fine = |it: u8| it.is_ascii_alphanumeric() || b"._-/".contains(&it);
    path.is_absolute() && path.to_str().is_some_and(|it| it.bytes().all(fine))
}

/// Refuses two apps on one name or port: nginx would serve the first and only warn.
fn check_unique(routes: &[AppRoute]) -> Result<(), Problem> {
    let (mut names, mut ports) = (HashMap::new(), HashMap::new());
    for route in routes {
        for domain in &route.domains {
            if names.insert(domain, &route.app).is_some_and(|it| *it != route.app) {
                let message = format!("`{domain}` is served by another app");
                return Err(Problem::new(Kind::Exists, "SW-DOMAIN-TAKEN", message).field("domains"));
            }
        }
        if let Some(port) = route.port
            && ports.insert(port, &route.app).is_some()
        {
            let message = format!("port {port} is another app's");
            return Err(Problem::new(Kind::Exists, "SW-PORT-IN-USE", message).field("port"));
        }
    }
    Ok(())
}
