//! Rewrites an archive as the build context that Docker gets.

use std::{
    io::{Read, Write},
    path::Path,
};

use crate::{
    emit::{self, Emitter},
    error::Error,
    limits::Limits,
    scan::Summary,
    walk::{Entry, Kind, Visitor, walk},
};

/// How a context is made of an archive.
#[derive(Clone, Debug, Default)]
pub struct Context<'a> {
    /// Folder of the archive that becomes the context's root ([`Summary::root`]); empty for the whole.
    pub root: &'a str,
    /// Files put in, in place of any of the same name: a Dockerfile.
    pub extra: &'a [(&'a str, &'a [u8])],
}

/// Writes a plain tar of the archive at `path`: the files put in, then the same entries in the same
/// order, folders before what lies in them, owner 0:0, folders 0755, files 0644 or 0755. What no
/// build needs is left out: `.git`, and the `__MACOSX` of zips made on a Mac.
///
/// Times are kept, since web servers make their `ETag` and `Last-Modified` of them: with one time for
/// all, a browser would keep the old release's files. The same archive gives the same bytes.
///
/// The archive is checked again on the way. After an error `out` holds a part of a tar: the receiver
/// must be told, or it takes that for a smaller context.
pub fn write_context(
    path: &Path,
    limits: &Limits,
    context: &Context<'_>,
    out: &mut impl Write,
) -> Result<Summary, Error> {
    let emitter = Emitter::new(out, context.extra, limits.depth)?;
    let mut writer = Writer { root: context.root, emitter };
    let summary = walk(path, limits, &mut writer)?;
    writer.emitter.finish()?;
    Ok(summary)
}

struct Writer<'a, W: Write> {
    root: &'a str,
    emitter: Emitter<W>,
}

impl<W: Write> Visitor for Writer<'_, W> {
    fn visit(&mut self, entry: &Entry, body: &mut dyn Read) -> Result<(), Error> {
        if entry.name.is_clutter() {
            return Ok(());
        }
        let Some(name) = entry.name.below(self.root) else { return Ok(()) };
        if self.emitter.is_taken(&name) && !matches!(entry.kind, Kind::Folder) {
            return Ok(());
        }
        match &entry.kind {
            Kind::Folder => self.emitter.folder(&name, entry.modified),
            Kind::File { size, executable } => {
                let modified = entry.modified;
                let file = emit::File { size: *size, executable: *executable, modified };
                self.emitter.file(&name, file, body)
            }
            Kind::Link { target } => {
                // Within the archive, but perhaps not within its one folder.
                let target = name.link(target.as_bytes())?;
                self.emitter.link(&name, &target, entry.modified)
            }
            Kind::Same { target } => {
                let target = target.below(self.root).filter(|it| !it.is_clutter());
                let target = target.ok_or_else(|| {
                    let reason = "is a hard link to a file that is left out";
                    Error::entry(crate::Code::Link, name.as_str().as_bytes(), reason)
                })?;
                self.emitter.same(&name, &target, entry.modified)
            }
        }
    }
}
