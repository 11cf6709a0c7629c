//! Node: servers, and sites that Node only builds.

use serde::Deserialize;

use super::{is_word, recipe, web};
use crate::{command::Command, files::Files, render::Recipe};

/// The part of `package.json` that matters. What has another shape counts as not there.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Package {
    main: serde_json::Value,
    scripts: serde_json::Value,
    dependencies: serde_json::Value,
    #[serde(rename = "devDependencies")]
    dev_dependencies: serde_json::Value,
}

impl Package {
    fn script(&self, name: &str) -> Option<&str> {
        self.scripts.get(name)?.as_str().filter(|it| !it.trim().is_empty())
    }

    fn depends_on(&self, name: &str) -> bool {
        [&self.dependencies, &self.dev_dependencies].iter().any(|it| it.get(name).is_some())
    }
}

pub(super) fn node(files: &Files) -> Option<Recipe> {
    if !files.has("package.json") {
        return None;
    }
    let package: Package = serde_json::from_str(&files.text("package.json")).unwrap_or_default();
    let install = match files.first(&["pnpm-lock.yaml", "yarn.lock", "package-lock.json"]) {
        Some("pnpm-lock.yaml") => "pnpm",
        Some("yarn.lock") => "yarn",
        Some(_) => "npm-ci",
        None => "npm",
    };
    let builds = package.script("build").is_some();
    let mut recipe = recipe(what(&package), "node");
    recipe.install = install;
    recipe.builds = builds;
    recipe.command = start(files, &package);
    // It has no server of its own, but what it builds are plain files.
    let folder = if package.depends_on("vite") {
        Some("dist")
    } else if package.depends_on("react-scripts") {
        Some("build")
    } else {
        None
    };
    let starts_dev_server = package.depends_on("react-scripts")
        && package.script("start").is_some_and(|it| it.contains("react-scripts"));
    if let Some(folder) = folder
        && builds
        && (recipe.command.is_none() || starts_dev_server)
        && !files.has("Procfile")
    {
        recipe.template = "node-static";
        "static site built by Node".clone_into(&mut recipe.what);
        folder.clone_into(&mut recipe.part);
        recipe.command = Some(web::serve());
    }
    Some(recipe)
}

/// The start script itself, without npm between it and its signals; else the program.
fn start(files: &Files, package: &Package) -> Option<Command> {
    if let Some(script) = package.script("start") {
        return Command::line(script);
    }
    let main = package.main.as_str().map(|it| it.trim_start_matches("./"));
    let main = main.filter(|it| is_word(it) && files.has(it));
    let usual =
        || files.first(&["server.js", "index.js", "app.js", "main.js", "server.mjs", "index.mjs"]);
    main.or_else(usual).map(|it| Command::words(["node", it]))
}

fn what(package: &Package) -> &'static str {
    let known = [
        ("next", "Node (Next.js)"),
        ("nuxt", "Node (Nuxt)"),
        ("@nestjs/core", "Node (NestJS)"),
        ("express", "Node (Express)"),
        ("fastify", "Node (Fastify)"),
    ];
    known.iter().find(|(name, _)| package.depends_on(name)).map_or("Node", |(_, what)| what)
}
