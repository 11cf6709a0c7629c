//! The sample apps, and variants of them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// A Python app with a Dockerfile.
pub fn hello() -> PathBuf {
    fixtures().join("hello")
}

/// Static files behind busybox.
pub fn site() -> PathBuf {
    fixtures().join("site")
}

/// Copies an app, so that it can be changed.
pub fn copy(app: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
    let entries = fs::read_dir(app).with_context(|| format!("list {}", app.display()))?;
    for entry in entries {
        let entry = entry.context("list a folder")?;
        let target = to.join(entry.file_name());
        if entry.file_type().context("ask for a type")?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)
                .with_context(|| format!("copy to {}", target.display()))?;
        }
    }
    Ok(())
}

/// Copies the Python app and gives it a version.
pub fn hello_of_version(to: &Path, version: &str) -> Result<()> {
    copy(&hello(), to)?;
    set_version(to, version)
}

/// Gives a copy another version.
pub fn set_version(app: &Path, version: &str) -> Result<()> {
    let path = app.join("VERSION");
    fs::write(&path, format!("{version}\n")).with_context(|| format!("write {}", path.display()))
}

/// Adds a file that does not compress, to make the app about this large.
pub fn pad(app: &Path, bytes: usize) -> Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut content = Vec::with_capacity(bytes + 8);
    while content.len() < bytes {
        // xorshift: the same bytes each time.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(bytes);
    fs::write(app.join("padding.bin"), content).context("write padding.bin")
}

fn fixtures() -> PathBuf {
    crate::workspace().join("tests/fixtures")
}
