//! Python: Django, Flask, `FastAPI`, and programs that listen by themselves.

use super::{is_word, recipe};
use crate::{command::Command, files::Files, render::Recipe};

/// Files in which the app usually is.
const PROGRAMS: [&str; 6] =
    ["app.py", "main.py", "server.py", "wsgi.py", "asgi.py", "application.py"];

pub(super) fn python(files: &Files) -> Option<Recipe> {
    let install = match files.first(&["requirements.txt", "Pipfile", "pyproject.toml"]) {
        Some("requirements.txt") => "requirements",
        Some("Pipfile") => "pipfile",
        Some(_) if files.has("uv.lock") => "uv",
        Some(_) if files.has("poetry.lock") => "poetry",
        Some(_) if has_build_system(files) => "project",
        Some(_) => "none",
        None if files.first(&["manage.py", "app.py", "main.py"]).is_some() => "none",
        None => return None,
    };
    let mut recipe = recipe("Python", "python");
    recipe.install = install;
    let needs = |package| !depends_on(files, package);
    if let Some(project) = django(files) {
        "Python (Django)".clone_into(&mut recipe.what);
        recipe.command =
            Some(Command::expanded(&format!("gunicorn --bind 0.0.0.0:${{PORT}} {project}.wsgi")));
        recipe.adds = if needs("gunicorn") { "gunicorn" } else { "" };
    } else if let Some(app) = made_by(files, "FastAPI") {
        "Python (FastAPI)".clone_into(&mut recipe.what);
        recipe.command =
            Some(Command::expanded(&format!("uvicorn --host 0.0.0.0 --port ${{PORT}} {app}")));
        let is_there = !needs("uvicorn") || depends_on(files, "fastapi[standard]");
        recipe.adds = if is_there { "" } else { "uvicorn" };
    } else if let Some(app) = made_by(files, "Flask") {
        "Python (Flask)".clone_into(&mut recipe.what);
        recipe.command =
            Some(Command::expanded(&format!("gunicorn --bind 0.0.0.0:${{PORT}} {app}")));
        recipe.adds = if needs("gunicorn") { "gunicorn" } else { "" };
    } else if let Some(program) = files.first(&["main.py", "app.py", "server.py"]) {
        recipe.command = Some(Command::words(["python", program]));
    }
    Some(recipe)
}

/// The package of a Django project: where `wsgi.py` lies beside `settings`.
fn django(files: &Files) -> Option<&str> {
    if !files.has("manage.py") {
        return None;
    }
    let package = |it: &'_ &String| {
        it.strip_suffix("/wsgi.py").is_some_and(|it| !it.contains('/') && is_module(it))
    };
    files.names.iter().find(package)?.strip_suffix("/wsgi.py")
}

/// `module:variable` of the line that makes the app, such as `app = Flask(__name__)`.
fn made_by(files: &Files, class: &str) -> Option<String> {
    for program in PROGRAMS.iter().filter(|it| files.has(it)) {
        let text = files.text(program);
        let variable = text.lines().find_map(|line| {
            // At the start of the line: an app that a function makes is not there to be found.
            let (variable, value) = line.split_once('=')?;
            let variable = variable.split(':').next()?.trim_end();
            let call = value.trim_start().strip_prefix(class)?;
            (call.trim_start().starts_with('(') && is_module(variable)).then(|| variable.to_owned())
        });
        if let Some(variable) = variable {
            return Some(format!("{}:{variable}", program.trim_end_matches(".py")));
        }
    }
    None
}

/// Whether a file of dependencies names a package.
fn depends_on(files: &Files, package: &str) -> bool {
    let sign = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.');
    ["requirements.txt", "pyproject.toml", "Pipfile"].iter().any(|file| {
        let text = files.text(file).to_ascii_lowercase();
        text.match_indices(package).any(|(at, found)| {
            let before = text.get(..at).and_then(|it| it.chars().next_back());
            let after = text.get(at + found.len()..).and_then(|it| it.chars().next());
            !before.is_some_and(sign) && !after.is_some_and(sign)
        })
    })
}

fn has_build_system(files: &Files) -> bool {
    let table: toml::Table = files.text("pyproject.toml").parse().unwrap_or_default();
    table.contains_key("build-system") || table.contains_key("project")
}

/// A name that Python takes.
fn is_module(text: &str) -> bool {
    let starts = text.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_');
    starts && is_word(text) && text.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_')
}
