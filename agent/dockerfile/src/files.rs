//! What a source holds, as far as it matters here.

use std::collections::BTreeMap;

/// The files that [`crate::detect()`] may want to read. Pass these to the reader of the source.
pub const INTEREST: &[&str] = &[
    "Procfile",
    "package.json",
    "requirements.txt",
    "pyproject.toml",
    "Pipfile",
    "app.py",
    "main.py",
    "server.py",
    "wsgi.py",
    "asgi.py",
    "application.py",
    "Cargo.toml",
    "Gemfile",
    "composer.json",
];

/// Files that show that a folder is the root of an app.
pub const MARKERS: &[&str] = &[
    "Dockerfile",
    "Procfile",
    "package.json",
    "requirements.txt",
    "pyproject.toml",
    "Pipfile",
    "manage.py",
    "app.py",
    "main.py",
    "go.mod",
    "Cargo.toml",
    "Gemfile",
    "config.ru",
    "composer.json",
    "index.php",
    "pom.xml",
    "build.gradle",
    "build.gradle.kts",
    "index.html",
];

/// What a source holds: the paths of its files, and the contents of those named in [`INTEREST`].
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Paths, relative to the root of the app, at most three parts deep.
    pub names: Vec<String>,
    /// Contents of small files.
    pub contents: BTreeMap<String, Vec<u8>>,
}

impl Files {
    /// Whether there is such a file.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|it| it == name)
    }

    /// The first of `names` that there is.
    pub(crate) fn first<'a>(&self, names: &[&'a str]) -> Option<&'a str> {
        names.iter().copied().find(|it| self.has(it))
    }

    /// Text of a file; empty when there is none.
    pub(crate) fn text(&self, name: &str) -> String {
        let bytes = self.contents.get(name).map(Vec::as_slice).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    }
}
