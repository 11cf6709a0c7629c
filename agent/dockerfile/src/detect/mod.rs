//! What a source is, language by language.

mod compiled;
mod node;
mod python;
mod web;

use slipway_proto::problem::Problem;

use crate::{
    files::Files,
    procfile,
    render::{Bases, Generated, Recipe, render},
};

/// Makes a Dockerfile for a source that has none. The app is to listen on `$PORT`, 8080 unless it is set;
/// the `web` line of a `Procfile` says how it is started.
///
/// SW-DOCKERFILE-UNKNOWN when it cannot tell what the source is, or how it is started;
/// SW-DOCKERFILE-PROCFILE.
pub fn detect(files: &Files, bases: &Bases) -> Result<Generated, Problem> {
    let command = procfile::web(files)?;
    // Assets of a Rails or Django app are built by Node: it comes after the languages, and plain files
    // come last.
    let found = compiled::go(files)
        .or_else(|| compiled::rust(files))
        .or_else(|| python::python(files))
        .or_else(|| web::ruby(files))
        .or_else(|| web::php(files))
        .or_else(|| compiled::java(files))
        .or_else(|| node::node(files))
        .or_else(|| web::plain(files));
    let Some(mut recipe) = found else { return Err(unknown(files)) };
    if command.is_some() {
        recipe.command = command;
    }
    if recipe.command.is_none() {
        let message = format!("this looks like {}, but not how it is started", recipe.what);
        return Err(Problem::invalid("SW-DOCKERFILE-UNKNOWN", "source", message)
            .hint("add a Procfile: `web: <command that listens on $PORT>`, or a Dockerfile"));
    }
    render(&recipe, bases)
}

fn unknown(files: &Files) -> Problem {
    let mut top: Vec<_> = files.names.iter().filter(|it| !it.contains('/')).collect();
    top.truncate(5);
    let there = match top.as_slice() {
        [] => "no file".to_owned(),
        some => some.iter().map(|it| it.escape_debug().to_string()).collect::<Vec<_>>().join(", "),
    };
    let message = format!(
        "nothing at the top of the source says what it is; looked for Dockerfile, go.mod, Cargo.toml, \
         requirements.txt, pyproject.toml, Pipfile, manage.py, Gemfile, composer.json, index.php, pom.xml, \
         build.gradle, package.json and index.html, and found {there}"
    );
    Problem::invalid("SW-DOCKERFILE-UNKNOWN", "source", message)
        .hint("add a Dockerfile, or deploy the folder that holds the app")
}

/// A name that may stand in a Dockerfile and in a shell as it is.
fn is_word(text: &str) -> bool {
    let good = |it: u8| it.is_ascii_alphanumeric() || b"._-/".contains(&it);
    !text.is_empty()
        && text.len() <= 200
        && text.bytes().all(good)
        && !text.starts_with('-')
        && text.split('/').all(|it| it != "..")
}

/// Keeps the shape of what the recipes have in common.
fn recipe(what: impl Into<String>, template: &'static str) -> Recipe {
    Recipe::new(what, template)
}
