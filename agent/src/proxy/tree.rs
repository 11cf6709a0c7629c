//! Configurations on disk: one numbered folder each, and a symbolic link `current` to the one in force.
//! Swapping the link swaps all files at once.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use slipway_host::fs as durable;

use super::render::{MAIN, Rendered};

/// The folder with all configurations.
#[derive(Clone, Debug)]
pub(crate) struct Trees {
    dir: PathBuf,
}

impl Trees {
    /// Makes the folder and those that nginx needs beside it.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        // nginx's workers must get through to the temporary files.
        durable::make_dir(dir, 0o755)?;
        durable::make_dir(&dir.join("tmp"), 0o755)?;
        durable::make_dir(&dir.join("trees"), 0o700)?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// The main file of the configuration in force, through the link.
    pub(crate) fn main(&self) -> PathBuf {
        self.link().join(MAIN)
    }

    /// The pattern that includes the part of it which any nginx can take.
    pub(crate) fn pattern(&self) -> String {
        self.link().join("conf.d/*.conf").to_string_lossy().into_owned()
    }

    fn link(&self) -> PathBuf {
        self.dir.join("current")
    }

    /// The folder in force.
    pub(crate) fn current(&self) -> Option<PathBuf> {
        fs::read_link(self.link()).ok().map(|it| self.dir.join(it))
    }

    /// Whether what is in force is exactly this.
    pub(crate) fn holds(&self, rendered: &Rendered) -> bool {
        let found = self.current().map(|it| read(&it));
        matches!(found, Some(Ok(files)) if files == rendered.files)
    }

    /// Writes a configuration beside those that are there.
    pub(crate) fn stage(&self, rendered: &Rendered) -> io::Result<PathBuf> {
        let number = self.numbers()?.last().map_or(1, |it| it + 1);
        let tree = self.dir.join("trees").join(number.to_string());
        durable::make_dir(&tree.join("conf.d"), 0o755)?;
        for (name, text) in &rendered.files {
            durable::replace(&tree.join(name), text.as_bytes(), 0o644)?;
        }
        durable::sync_dir(&tree)?;
        durable::sync_dir(&self.dir.join("trees"))?;
        Ok(tree)
    }

    /// Puts a folder in force.
    pub(crate) fn point(&self, tree: &Path) -> io::Result<()> {
        let target = tree.strip_prefix(&self.dir).unwrap_or(tree);
        let temporary = self.dir.join("current.new");
        durable::remove(&temporary)?;
        symlink(target, &temporary)?;
        durable::rename(&temporary, &self.link())
    }

    /// Puts nothing in force.
    pub(crate) fn unpoint(&self) -> io::Result<()> {
        durable::remove(&self.link())
    }

    /// Removes all folders but the one in force.
    pub(crate) fn sweep(&self) -> io::Result<()> {
        let current = self.current();
        for number in self.numbers()? {
            let tree = self.dir.join("trees").join(number.to_string());
            if Some(&tree) != current.as_ref() {
                durable::remove_all(&tree)?;
            }
        }
        Ok(())
    }

    fn numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(self.dir.join("trees"))? {
            numbers.extend(entry?.file_name().to_str().and_then(|it| it.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }
}

fn read(tree: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::from([(MAIN.to_owned(), fs::read_to_string(tree.join(MAIN))?)]);
    for entry in fs::read_dir(tree.join("conf.d"))? {
        let entry = entry?;
        let name = format!("conf.d/{}", entry.file_name().to_string_lossy());
        files.insert(name, fs::read_to_string(entry.path())?);
    }
    Ok(files)
}
