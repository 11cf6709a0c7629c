//! Which Dockerfile builds an archive.

use std::path::Path;

use slipway_archive::{Limits, Summary};
use slipway_dockerfile::{Bases, Files};
use slipway_proto::{problem::Problem, spec::Build};

/// The name that everybody uses.
const DOCKERFILE: &str = "Dockerfile";
/// Name of one that does not come from the archive, so that it hides nothing in it.
const SENT: &str = ".slipway.Dockerfile";

/// How an archive is built.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recipe {
    /// Folder of the archive that is the context's root; empty for the whole.
    pub root: String,
    /// Path of the Dockerfile within the context.
    pub dockerfile: String,
    /// Its text, when it is not in the archive.
    pub text: Option<String>,
    /// What to tell people about the choice.
    pub note: String,
}

/// Chooses the Dockerfile of a scanned archive, and checks it. Blocks.
///
/// # Errors
/// There is none and none can be made, it is not in the archive, or it may not be built.
pub fn choose(
    path: &Path,
    limits: &Limits,
    summary: &Summary,
    build: &Build,
    bases: &Bases,
) -> Result<Recipe, Problem> {
    if let Some(text) = &build.dockerfile {
        slipway_dockerfile::check(text)?;
        let markers: Vec<&str> = MARKERS.iter().chain(&[DOCKERFILE]).copied().collect();
        return Ok(Recipe {
            root: summary.root(&markers).to_owned(),
            dockerfile: SENT.to_owned(),
            text: Some(text.clone()),
            note: "using the Dockerfile that was sent along".to_owned(),
        });
    }
    let given = build.dockerfile_path.as_deref();
    let dockerfile = given.unwrap_or(DOCKERFILE);
    let root = summary.root(&[dockerfile]);
    let files = slipway_archive::read_files(path, limits, root, &[dockerfile])?;
    if let Some(bytes) = files.get(dockerfile) {
        slipway_dockerfile::check(&text_of(bytes)?)?;
        return Ok(Recipe {
            root: root.to_owned(),
            dockerfile: dockerfile.to_owned(),
            text: None,
            note: format!("using {dockerfile} of the source"),
        });
    }
    if let Some(given) = given {
        let message = format!("there is no `{given}` in the source");
        return Err(Problem::invalid("SW-DOCKERFILE-PATH", "dockerfile_path", message)
            .hint("give its path from the top of the source"));
    }
    generate(path, limits, summary, bases)
}

/// Files that say what a source is, besides a Dockerfile: right beneath the root of a project.
const MARKERS: &[&str] = &[
    "package.json",
    "requirements.txt",
    "pyproject.toml",
    "Pipfile",
    "Procfile",
    "go.mod",
    "Cargo.toml",
    "Gemfile",
    "composer.json",
    "pom.xml",
    "index.html",
    "app.py",
    "main.py",
    "server.js",
    "index.js",
];

fn generate(
    path: &Path,
    limits: &Limits,
    summary: &Summary,
    bases: &Bases,
) -> Result<Recipe, Problem> {
    let root = summary.root(MARKERS);
    let contents = slipway_archive::read_files(path, limits, root, slipway_dockerfile::INTEREST)?;
    let below = |name: &String| match root {
        "" => Some(name.clone()),
        root => name.strip_prefix(root)?.strip_prefix('/').map(ToOwned::to_owned),
    };
    let files = Files { names: summary.names.iter().filter_map(below).collect(), contents };
    let generated = slipway_dockerfile::detect(&files, bases)?;
    Ok(Recipe {
        root: root.to_owned(),
        dockerfile: SENT.to_owned(),
        text: Some(generated.text),
        note: format!("the source is {}; using a Dockerfile made for it", generated.what),
    })
}

fn text_of(bytes: &[u8]) -> Result<String, Problem> {
    String::from_utf8(bytes.to_vec()).map_err(|_| {
        Problem::invalid("SW-DOCKERFILE", "dockerfile", "the Dockerfile is not UTF-8 text")
    })
}
