//! Ruby, PHP, and plain files.

use super::recipe;
use crate::{command::Command, files::Files, render::Recipe};

pub(super) fn ruby(files: &Files) -> Option<Recipe> {
    files.first(&["Gemfile", "config.ru"])?;
    let mut recipe = recipe("Ruby", "ruby");
    recipe.install = if files.has("Gemfile") { "bundle" } else { "none" };
    let gemfile = files.text("Gemfile");
    let is_rails = gemfile.lines().any(|line| {
        let gem = line.trim().strip_prefix("gem").map(str::trim_start).unwrap_or_default();
        gem.starts_with("\"rails\"") || gem.starts_with("'rails'")
    });
    if is_rails {
        "Ruby (Rails)".clone_into(&mut recipe.what);
        recipe.command = Some(Command::expanded("bundle exec rails server -b 0.0.0.0 -p ${PORT}"));
    } else if files.has("config.ru") {
        "Ruby (Rack)".clone_into(&mut recipe.what);
        recipe.command = Some(Command::expanded("bundle exec rackup -o 0.0.0.0 -p ${PORT}"));
    } else {
        recipe.command = files
            .first(&["app.rb", "main.rb", "server.rb"])
            .map(|it| Command::words(["bundle", "exec", "ruby", it]));
    }
    Some(recipe)
}

pub(super) fn php(files: &Files) -> Option<Recipe> {
    files.first(&["composer.json", "index.php"])?;
    let is_laravel = files.has("artisan");
    let mut recipe = recipe(if is_laravel { "PHP (Laravel)" } else { "PHP" }, "php");
    recipe.install = if files.has("composer.json") { "composer" } else { "none" };
    if let Some(folder) = ["public", "web"].iter().find(|it| files.has(&format!("{it}/index.php")))
    {
        (*folder).clone_into(&mut recipe.part);
    }
    recipe.command = Some(Command::words(["apache2-foreground"]));
    Some(recipe)
}

pub(super) fn plain(files: &Files) -> Option<Recipe> {
    let folder = match files.first(&["index.html", "public/index.html", "dist/index.html"])? {
        "index.html" => ".",
        "public/index.html" => "public",
        _ => "dist",
    };
    let mut recipe = recipe("static site", "static");
    folder.clone_into(&mut recipe.part);
    recipe.command = Some(serve());
    Some(recipe)
}

/// Serves the folder of plain files. Busybox: 2 MiB instead of nginx's 50, and nginx is in front already.
pub(super) fn serve() -> Command {
    Command::expanded("busybox httpd -f -p ${PORT} -h /www")
}
