//! Go, Rust and Java: built in one image, run in another.

use super::{is_word, recipe};
use crate::{command::Command, files::Files, render::Recipe};

pub(super) fn go(files: &Files) -> Option<Recipe> {
    if !files.has("go.mod") {
        return None;
    }
    let mut recipe = recipe("Go", "go");
    // A program at the top, or the only one where programs usually are.
    let programs: Vec<_> = files
        .names
        .iter()
        .filter_map(|it| it.strip_prefix("cmd/")?.strip_suffix("/main.go"))
        .filter(|it| is_word(it) && !it.contains('/'))
        .collect();
    recipe.part = match programs.as_slice() {
        [one] if !files.has("main.go") => format!("./cmd/{one}"),
        _ => ".".to_owned(),
    };
    recipe.command = Some(Command::words(["app"]));
    Some(recipe)
}

pub(super) fn rust(files: &Files) -> Option<Recipe> {
    if !files.has("Cargo.toml") {
        return None;
    }
    let mut recipe = recipe("Rust", "rust");
    recipe.install = if files.has("Cargo.lock") { " --locked" } else { "" };
    let manifest: toml::Table = files.text("Cargo.toml").parse().unwrap_or_default();
    let name = |it: &toml::Value| it.get("name")?.as_str().map(str::to_owned);
    let program = manifest.get("bin").and_then(|it| it.as_array()?.first().and_then(name));
    let package = manifest.get("package").and_then(name);
    let program = program.or(package).filter(|it| is_word(it) && !it.contains('/'));
    // A workspace, or a name that no program has: how it is started must be said.
    if let Some(program) = program {
        recipe.part = program;
        recipe.command = Some(Command::words(["app"]));
        return Some(recipe);
    }
    None
}

pub(super) fn java(files: &Files) -> Option<Recipe> {
    let install = match files.first(&["pom.xml", "build.gradle", "build.gradle.kts"])? {
        "pom.xml" => "maven",
        _ => "gradle",
    };
    let what = if install == "maven" { "Java (Maven)" } else { "Java (Gradle)" };
    let mut recipe = recipe(what, "java");
    recipe.install = install;
    recipe.command = Some(Command::expanded("java -Dserver.port=${PORT} -jar app.jar"));
    Some(recipe)
}
