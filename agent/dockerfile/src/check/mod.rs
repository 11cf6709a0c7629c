//! Refuses a given Dockerfile that must not be built, and says what it exposes.
//!
//! This is for early and clear words, and for what the builder would do without asking. What a
//! build may reach is the business of the network it runs in: a Dockerfile has many ways to spell an
//! address.

mod parse;
mod rules;

use slipway_proto::problem::Problem;

use parse::{Heredocs, Instruction, parse};

/// The longest Dockerfile.
pub const MAX_BYTES: usize = 512 << 10;

/// A Dockerfile that may be built.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Checked {
    /// TCP ports that its last stage exposes, in order, each once.
    pub exposed: Vec<u16>,
    /// Images that it starts from, as written, without its own stages.
    pub bases: Vec<String>,
}

/// Checks a given Dockerfile: SW-DOCKERFILE-SIZE, -EMPTY, -FROM, -FRONTEND, -ADD, -COPY, -SECRET, -MOUNT,
/// -SECURITY, -WORKDIR.
pub fn check(text: &str) -> Result<Checked, Problem> {
    if MAX_BYTES < text.len() {
        let message = format!("the Dockerfile is longer than {MAX_BYTES} bytes");
        return Err(problem(
            "SW-DOCKERFILE-SIZE",
            message,
            "copy files in instead of writing them out",
        ));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    rules::frontend(text)?;
    // A builder that knows no heredocs takes their lines for instructions.
    for instruction in parse(text, Heredocs::Unknown) {
        rules::instruction(&instruction)?;
    }
    let instructions = parse(text, Heredocs::Known);
    structure(&instructions)?;
    rules::secrets(&instructions)?;
    Ok(Checked { exposed: exposed(&instructions), bases: bases(&instructions) })
}

fn structure(instructions: &[Instruction]) -> Result<(), Problem> {
    let Some(first) = instructions.iter().find(|it| it.keyword != "ARG") else {
        let (code, message) = if instructions.is_empty() {
            ("SW-DOCKERFILE-EMPTY", "the Dockerfile is empty")
        } else {
            ("SW-DOCKERFILE-FROM", "the Dockerfile has no `FROM`")
        };
        return Err(problem(code, message, "begin with an image: `FROM debian:12-slim`"));
    };
    if first.keyword != "FROM" {
        let message = format!("line {}: `{}` comes before `FROM`", first.line, first.keyword);
        return Err(problem(
            "SW-DOCKERFILE-FROM",
            message,
            "begin with an image: `FROM debian:12-slim`",
        ));
    }
    Ok(())
}

/// Images that stages start from.
fn bases(instructions: &[Instruction]) -> Vec<String> {
    let mut stages: Vec<String> = Vec::new();
    let mut bases = Vec::new();
    for instruction in instructions.iter().filter(|it| it.keyword == "FROM") {
        let words = instruction.words();
        let Some(base) = words.first() else { continue };
        let is_stage = stages.iter().any(|it| it.eq_ignore_ascii_case(base));
        if !is_stage && base != "scratch" && !bases.contains(base) {
            bases.push(base.clone());
        }
        if let [_, by, name] = words.as_slice()
            && by.eq_ignore_ascii_case("as")
        {
            stages.push(name.clone());
        }
    }
    bases
}

/// TCP ports of the last stage. Variables are looked up among what the Dockerfile itself sets.
fn exposed(instructions: &[Instruction]) -> Vec<u16> {
    let mut variables: Vec<(String, String)> = Vec::new();
    let mut ports = Vec::new();
    for instruction in instructions {
        match instruction.keyword.as_str() {
            "FROM" => ports.clear(),
            "ARG" | "ENV" => variables.extend(instruction.assignments()),
            "EXPOSE" => {
                for word in instruction.words() {
                    let (port, protocol) = word.split_once('/').unwrap_or((&word, "tcp"));
                    let port = value(port, &variables);
                    let port = port.split('-').next().and_then(|it| it.parse().ok());
                    if let Some(port) = port.filter(|it| *it != 0)
                        && protocol.eq_ignore_ascii_case("tcp")
                        && !ports.contains(&port)
                    {
                        ports.push(port);
                    }
                }
            }
            _ => (),
        }
    }
    ports
}

/// The value of `$NAME`, `${NAME}` or `${NAME:-default}`; other text as it is.
fn value(text: &str, variables: &[(String, String)]) -> String {
    let Some(name) = text.strip_prefix('$') else { return text.to_owned() };
    let name = name.strip_prefix('{').and_then(|it| it.strip_suffix('}')).unwrap_or(name);
    let (name, default) = name.split_once(":-").unwrap_or((name, ""));
    let known = variables.iter().rfind(|(it, _)| it == name).map(|(_, value)| value.as_str());
    known.filter(|it| !it.is_empty()).unwrap_or(default).to_owned()
}

fn problem(code: &'static str, message: impl Into<String>, hint: &'static str) -> Problem {
    Problem::invalid(code, "dockerfile", message).hint(hint)
}
