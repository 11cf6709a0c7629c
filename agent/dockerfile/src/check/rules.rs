//! The rules, one by one.

use std::net::IpAddr;

use slipway_proto::{problem::Problem, value::is_public};
use url::{Host, Url};

use super::{
    parse::{Instruction, directives},
    problem,
};

/// Another frontend is a program that runs in the builder before anything else does.
pub(super) fn frontend(text: &str) -> Result<(), Problem> {
    const OFFICIAL: [&str; 2] = ["docker/dockerfile", "docker.io/docker/dockerfile"];
    let refuse = |value: &str| {
        let value: String = value.chars().take(80).flat_map(char::escape_debug).collect();
        let message = format!("the Dockerfile asks for another frontend: `{value}`");
        Err(problem(
            "SW-DOCKERFILE-FRONTEND",
            message,
            "use `# syntax=docker/dockerfile:1`, or none",
        ))
    };
    for (name, value) in directives(text) {
        let image = value.split(['@', ' ']).next().unwrap_or_default();
        let image = image.split_once(':').map_or(image, |(name, _)| name);
        if name.eq_ignore_ascii_case("syntax") && !OFFICIAL.contains(&image) {
            return refuse(value);
        }
    }
    // BuildKit also looks for a frontend behind `//` and in JSON.
    match text.lines().map(str::trim).find(|it| !it.is_empty() && !it.starts_with("#!")) {
        Some(line) if line.starts_with("//") || line.starts_with('{') => refuse(line),
        _ => Ok(()),
    }
}

/// What no instruction may do.
pub(super) fn instruction(it: &Instruction) -> Result<(), Problem> {
    match it.keyword.as_str() {
        "ADD" => add(it).and_then(|()| sources(it)),
        "COPY" => sources(it),
        "RUN" => run(it),
        "WORKDIR" => workdir(it),
        "ONBUILD" => {
            let (keyword, rest) = it.rest.split_once(char::is_whitespace).unwrap_or((&it.rest, ""));
            let keyword = keyword.to_ascii_uppercase();
            if keyword == "ONBUILD" {
                return Ok(());
            }
            instruction(&Instruction { keyword, rest: rest.trim().to_owned(), line: it.line })
        }
        _ => Ok(()),
    }
}

fn add(it: &Instruction) -> Result<(), Problem> {
    for url in it.words().iter().filter_map(|word| Url::parse(word).ok()) {
        let is_private = match url.host() {
            Some(Host::Ipv4(address)) => !is_public(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => !is_public(IpAddr::V6(address)),
            Some(Host::Domain(name)) => {
                let name = name.trim_end_matches('.');
                name == "localhost"
                    || [".localhost", ".internal", ".local"].iter().any(|end| name.ends_with(end))
            }
            None => false,
        };
        if is_private {
            let message = format!("line {}: `ADD` from an address that is not public", it.line);
            return Err(problem("SW-DOCKERFILE-ADD", message, "put the file into the source"));
        }
    }
    Ok(())
}

/// Sources lie in the context. Docker would cut `..` off and copy something else.
fn sources(it: &Instruction) -> Result<(), Problem> {
    if it.flags().any(|flag| flag.starts_with("--from=")) {
        return Ok(());
    }
    let words = it.words();
    let sources = words.split_last().map_or(&[][..], |(_, sources)| sources);
    let leaves = |path: &str| {
        let mut depth = 0_usize;
        for part in path.split('/').filter(|it| !matches!(*it, "" | ".")) {
            match (part, depth.checked_sub(1)) {
                ("..", None) => return true,
                ("..", Some(up)) => depth = up,
                _ => depth += 1,
            }
        }
        false
    };
    if sources.iter().any(|it| !it.contains("://") && leaves(it)) {
        let message = format!("line {}: `{}` from outside the source", it.line, it.keyword);
        return Err(problem("SW-DOCKERFILE-COPY", message, "copy only what lies in the source"));
    }
    Ok(())
}

fn run(it: &Instruction) -> Result<(), Problem> {
    for flag in it.flags() {
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        let value = value.trim_matches(['"', '\'']).to_ascii_lowercase();
        if matches!((name, value.as_str()), ("--security", "insecure") | ("--network", "host")) {
            let message = format!("line {}: `{name}={value}` is not allowed", it.line);
            return Err(problem(
                "SW-DOCKERFILE-SECURITY",
                message,
                "builds run without privileges",
            ));
        }
        let mut options = value.split(',').filter_map(|it| it.split_once('='));
        if name == "--mount"
            && options.any(|(key, from)| key.trim() == "from" && from.trim() == "host")
        {
            let message = format!("line {}: a mount from the host", it.line);
            return Err(problem(
                "SW-DOCKERFILE-MOUNT",
                message,
                "copy what the build needs into the source",
            ));
        }
    }
    Ok(())
}

/// A working directory beneath `/proc` has been a way out of a container (CVE-2024-21626).
fn workdir(it: &Instruction) -> Result<(), Problem> {
    let path = it.rest.trim_matches(['"', '\'']);
    let mut parts = path.split('/').filter(|it| !matches!(*it, "" | "."));
    if path.starts_with('/') && matches!(parts.next(), Some("proc" | "sys" | "dev")) {
        let message = format!(
            "line {}: a working directory in `{path}`",
            it.line.to_owned(),
            path = shown(path)
        );
        return Err(problem(
            "SW-DOCKERFILE-WORKDIR",
            message,
            "use a folder of the app: `WORKDIR /app`",
        ));
    }
    Ok(())
}

fn shown(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}

/// The default of an `ARG` stays in the image's history, for everyone who gets the image.
pub(super) fn secrets(instructions: &[Instruction]) -> Result<(), Problem> {
    const SECRET: [&str; 7] =
        ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "KEY", "APIKEY", "CREDENTIALS"];
    for it in instructions.iter().filter(|it| it.keyword == "ARG") {
        for (name, value) in it.assignments() {
            let upper = name.to_ascii_uppercase();
            if !value.is_empty() && upper.split('_').any(|part| SECRET.contains(&part)) {
                let message = format!(
                    "line {}: `ARG {}` has a value that stays in the image",
                    it.line,
                    shown(&name)
                );
                let hint = "give it to the app as a secret: `slipway secret set`";
                return Err(problem("SW-DOCKERFILE-SECRET", message, hint));
            }
        }
    }
    Ok(())
}
