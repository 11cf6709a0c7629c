//! Other programs: an argument list, never a shell; a deadline; bounded output.

use std::{
    ffi::{OsStr, OsString},
    io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    time::timeout,
};

/// What a program may print on each stream before the rest is dropped.
const OUTPUT_LIMIT: u64 = 256 << 10;

/// A program that could not be run to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It could not be started.
    #[error("could not start `{program}`")]
    Start {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It was ended at its deadline.
    #[error("`{program}` did not end within {limit:?}")]
    Timeout {
        /// The program.
        program: String,
        /// The deadline.
        limit: Duration,
    },
    /// It could not be waited for.
    #[error("lost `{program}`")]
    Lost {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// How a program ended.
#[derive(Debug)]
pub struct Output {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it printed, at most 256 KiB.
    pub stdout: String,
    /// What it complained, at most 256 KiB.
    pub stderr: String,
}

impl Output {
    /// Whether it ended with 0.
    pub fn ok(&self) -> bool {
        self.status.success()
    }
}

/// A program and its arguments.
#[derive(Clone, Debug)]
pub struct Program {
    path: OsString,
    args: Vec<OsString>,
    vars: Vec<(OsString, OsString)>,
}

impl Program {
    /// Names the program: a path, or a name to look up in `PATH`.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self { path: program.as_ref().to_owned(), args: Vec::new(), vars: Vec::new() }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|it| it.as_ref().to_owned()));
        self
    }

    /// Sets a variable of its environment. Not for secrets: `/proc/PID/environ` shows them.
    #[must_use]
    pub fn var(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.vars.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs it to its end, or ends it at the deadline.
    ///
    /// # Errors
    /// See [`Error`]; a program that ends with a failure is not an error here.
    pub async fn run(&self, limit: Duration) -> Result<Output, Error> {
        let mut child = self.spawn(Stdio::piped())?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let work = async { tokio::join!(child.wait(), capture(stdout), capture(stderr)) };
        let Ok((status, stdout, stderr)) = timeout(limit, work).await else {
            // Dropping the child kills it.
            return Err(Error::Timeout { program: self.name(), limit });
        };
        match status {
            Ok(status) => Ok(Output { status, stdout, stderr }),
            Err(source) => Err(Error::Lost { program: self.name(), source }),
        }
    }

    /// Starts it without waiting; it dies with the returned handle.
    ///
    /// # Errors
    /// [`Error::Start`].
    pub fn spawn(&self, output: impl Into<Stdio>) -> Result<Child, Error> {
        let output: Stdio = output.into();
        #[expect(clippy::disallowed_methods, reason = "this is the one place")]
        let mut command = Command::new(&self.path);
        command
            .args(&self.args)
            .envs(self.vars.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command.spawn().map_err(|source| Error::Start { program: self.name(), source })
    }

    fn name(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }
}

/// Reads to the end, keeping only the first part.
async fn capture(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut kept = Vec::new();
    if (&mut stream).take(OUTPUT_LIMIT).read_to_end(&mut kept).await.is_ok() {
        // The rest is read and dropped, so that the program does not hang on a full pipe.
        drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn arguments_are_not_words_of_a_shell() {
        let output = Program::new("echo").arg("$(id); a  b").run(LIMIT).await.unwrap();
        assert!(output.ok());
        assert_eq!(output.stdout, "$(id); a  b\n");
    }

    #[tokio::test]
    async fn a_program_is_ended_at_its_deadline() {
        let error = Program::new("sleep").arg("60").run(Duration::from_millis(50)).await;
        assert!(matches!(error, Err(Error::Timeout { .. })));
    }

    #[tokio::test]
    async fn endless_output_is_cut_and_the_program_still_ends() {
        let output = Program::new("seq").arg("200000").run(LIMIT).await.unwrap();
        assert_eq!(u64::try_from(output.stdout.len()).unwrap(), OUTPUT_LIMIT);
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let error = Program::new("no-such-program").run(LIMIT).await.unwrap_err();
        assert_eq!(error.to_string(), "could not start `no-such-program`");
    }
}
