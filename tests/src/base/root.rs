//! Root file systems from packages of this machine's own distribution.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use slipway_host::exec::Program;

use super::LIMIT;

/// What goes into a root file system.
#[derive(Debug)]
pub(super) struct Recipe {
    /// Packages, with all they depend on.
    pub(super) packages: &'static str,
    /// Paths that are left out.
    pub(super) without: &'static [&'static str],
    /// What the packages' own scripts, which do not run, would have done; `$1` is the root.
    pub(super) hooks: &'static [&'static str],
}

/// A shell and small programs, in one file.
pub(super) const BUSYBOX: Recipe = Recipe {
    packages: "busybox-static",
    without: &["/usr/share/*"],
    hooks: &[
        r#"chroot "$1" /bin/busybox --install -s /bin"#,
        r#"printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$1/etc/passwd""#,
        r#"printf 'root:x:0:\nnogroup:x:65534:\n' >"$1/etc/group""#,
    ],
};

/// Python, a shell and the usual small programs.
pub(super) const PYTHON: Recipe = Recipe {
    packages: "base-files,base-passwd,ca-certificates,coreutils,dash,libc-bin,python3,python3-pip",
    without: &[
        "/usr/share/doc/*",
        "/usr/share/man/*",
        "/usr/share/locale/*",
        "/usr/share/perl/*",
        "/usr/share/perl5/*",
        "/usr/lib/*/perl/*",
        "/usr/lib/*/perl-base/*",
    ],
    hooks: &[
        r#"cp "$1/usr/share/base-passwd/passwd.master" "$1/etc/passwd""#,
        r#"cp "$1/usr/share/base-passwd/group.master" "$1/etc/group""#,
        r#"ln -sf python3 "$1/usr/bin/python""#,
        // pip may install: the system belongs to the app.
        r#"rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED"#,
    ],
};

/// Writes the tar unless it is there.
pub(super) async fn write(recipe: &Recipe, tar: &Path) -> Result<()> {
    if tar.exists() {
        return Ok(());
    }
    let part = tar.with_extension("part.tar");
    let output = program(recipe, &part)?.run(LIMIT).await.context("run mmdebstrap")?;
    if !output.ok() {
        bail!("mmdebstrap failed: {}", output.stderr);
    }
    slipway_host::fs::rename(&part, tar).context("keep the tar")
}

fn program(recipe: &Recipe, tar: &Path) -> Result<Program> {
    let mut program = Program::new("mmdebstrap")
        .args(["--quiet", "--mode=root", "--variant=extract"])
        .arg(format!("--include={}", recipe.packages));
    for path in recipe.without {
        program = program.arg(format!("--dpkgopt=path-exclude={path}"));
    }
    for hook in recipe.hooks {
        program = program.arg(format!("--extract-hook={hook}"));
    }
    program = program.arg(suite()?).arg(tar);
    // This machine's own sources, with their keys.
    let sources = [
        "/etc/apt/sources.list.d/debian.sources",
        "/etc/apt/sources.list.d/ubuntu.sources",
        "/etc/apt/sources.list",
    ];
    Ok(match sources.into_iter().find(|it| Path::new(it).exists()) {
        Some(sources) => program.arg(sources),
        None => program,
    })
}

/// `bookworm`, `noble` …
fn suite() -> Result<String> {
    let text = std::fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
    let line = text.lines().find_map(|it| it.strip_prefix("VERSION_CODENAME="));
    line.map(|it| it.trim_matches('"').to_owned()).context("/etc/os-release names no release")
}
