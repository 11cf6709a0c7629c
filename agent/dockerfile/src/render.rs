//! From what a source is to the text of its Dockerfile.

use std::collections::BTreeMap;

use minijinja::{Environment, UndefinedBehavior, Value, context, syntax::SyntaxConfig};
use serde::{Deserialize, Serialize};
use slipway_proto::{problem::Problem, value::ImageRef};

use crate::command::Command;

/// The images that generated Dockerfiles start from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Bases {
    /// Python with pip.
    pub python: String,
    /// Node with npm.
    pub node: String,
    /// The Go compiler.
    pub go: String,
    /// The Rust compiler, on the same release of Debian as `runtime`.
    pub rust: String,
    /// Ruby with bundler.
    pub ruby: String,
    /// PHP with Apache.
    pub php: String,
    /// The one with `/usr/bin/composer`.
    pub composer: String,
    /// The Java compiler with Maven.
    pub maven: String,
    /// The Java compiler with Gradle.
    pub gradle: String,
    /// What runs Java.
    pub java: String,
    /// What serves plain files: it has busybox.
    #[serde(rename = "static")]
    pub statics: String,
    /// What runs compiled programs: a C library.
    pub runtime: String,
}

impl Default for Bases {
    fn default() -> Self {
        let [python, node, go, rust] =
            ["python:3.12-slim", "node:22-slim", "golang:1.24", "rust:1-slim-bookworm"]
                .map(str::to_owned);
        let [ruby, php, composer, maven] =
            ["ruby:3.3", "php:8.3-apache", "composer:2", "maven:3.9-eclipse-temurin-21"]
                .map(str::to_owned);
        let [gradle, java, statics, runtime] =
            ["gradle:8-jdk21", "eclipse-temurin:21-jre", "busybox:stable", "debian:12-slim"]
                .map(str::to_owned);
        Self { python, node, go, rust, ruby, php, composer, maven, gradle, java, statics, runtime }
    }
}

/// A Dockerfile made for a source.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Generated {
    /// What the source is, for people: `Python (Flask)`.
    pub what: String,
    /// The Dockerfile.
    pub text: String,
}

/// What a template is given. Whatever comes from the source is a [`Command`] or a checked word.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) what: String,
    pub(crate) template: &'static str,
    pub(crate) command: Option<Command>,
    /// How its dependencies are installed: a variant that the template knows.
    pub(crate) install: &'static str,
    /// Whether its own build script is run.
    pub(crate) builds: bool,
    /// A checked path or name: the Go package, the Rust program, the folder of plain files.
    pub(crate) part: String,
    /// A package that is installed as well.
    pub(crate) adds: &'static str,
}

impl Recipe {
    pub(crate) fn new(what: impl Into<String>, template: &'static str) -> Self {
        let what = what.into();
        Self {
            what,
            template,
            command: None,
            install: "",
            builds: false,
            part: String::new(),
            adds: "",
        }
    }
}

const TEMPLATES: [(&str, &str); 9] = [
    ("go", include_str!("../templates/go")),
    ("java", include_str!("../templates/java")),
    ("node", include_str!("../templates/node")),
    ("node-static", include_str!("../templates/node-static")),
    ("php", include_str!("../templates/php")),
    ("python", include_str!("../templates/python")),
    ("ruby", include_str!("../templates/ruby")),
    ("rust", include_str!("../templates/rust")),
    ("static", include_str!("../templates/static")),
];

/// Renders a recipe. Values are inserted as they are: they were checked when they were made.
pub(crate) fn render(recipe: &Recipe, bases: &Bases) -> Result<Generated, Problem> {
    let broken = |error: minijinja::Error| {
        Problem::internal(format!("could not write a Dockerfile: {}", error.kind()))
    };
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true);
    environment.set_syntax(syntax.build().map_err(broken)?);
    for (name, text) in TEMPLATES {
        environment.add_template(name, text).map_err(broken)?;
    }
    let values = context! {
        what => recipe.what.as_str(),
        command => recipe.command.as_ref().map(Command::json).unwrap_or_default(),
        install => recipe.install,
        builds => recipe.builds,
        part => recipe.part.as_str(),
        adds => recipe.adds,
        bases => names(bases)?,
    };
    let template = environment.get_template(recipe.template).map_err(broken)?;
    let text = template.render(values).map_err(broken)?;
    Ok(Generated { what: recipe.what.clone(), text })
}

/// The images by name, each checked: they are the operator's own, but a slip should be named.
fn names(bases: &Bases) -> Result<Value, Problem> {
    #[rustfmt::skip]
    let Bases {
        python, node, go, rust, ruby, php, composer, maven, gradle, java, statics, runtime,
    } = bases;
    let all = [
        ("python", python),
        ("node", node),
        ("go", go),
        ("rust", rust),
        ("ruby", ruby),
        ("php", php),
        ("composer", composer),
        ("maven", maven),
        ("gradle", gradle),
        ("java", java),
        ("statics", statics),
        ("runtime", runtime),
    ];
    for (_, base) in all {
        ImageRef::parse(base)?;
    }
    let named: BTreeMap<_, _> = all.into_iter().map(|(name, base)| (name, base.clone())).collect();
    Ok(Value::from(named))
}
