//! A PostgreSQL server for tests.
//!
//! Test processes share one, because each test may be a process of its own and a server takes a
//! second to make. It lives in a folder under the temporary folder; whoever uses it holds a shared
//! lock there, whoever starts or stops it an exclusive one. The last user stops it. A killed test
//! run leaves a server behind, which the next run uses and stops.

use std::{
    fs::{self, File},
    io,
    os::unix::{fs::MetadataExt as _, net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use slipway_host::{exec::Program, fs as files};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, postgres::PgConnectOptions};

use super::Failure;

const LIMIT: Duration = Duration::from_secs(60);

/// The user whom Debian's package makes; PostgreSQL refuses to run as root.
const USER: &str = "postgres";

/// The running server, for as long as this lives.
#[derive(Debug)]
pub(super) struct Server {
    root: PathBuf,
    programs: PathBuf,
    users: File,
}

impl Server {
    /// Joins the users of the server, and starts it if it does not run.
    pub(super) async fn shared() -> Result<Self, Failure> {
        let programs = programs()?;
        let root = std::env::temp_dir().join(format!("slipway-postgres-{}", uid()?));
        files::make_dir(&root, 0o755)?;
        let gate = lock_file(&root.join("gate"))?;
        gate.lock()?;
        let users = lock_file(&root.join("users"))?;
        users.lock_shared()?;
        let server = Self { root, programs, users };
        if !server.answers() {
            server.start().await?;
        }
        drop(gate);
        Ok(server)
    }

    /// Makes an empty database and returns its address.
    pub(super) async fn create_database(&self) -> Result<String, Failure> {
        let name = format!("t{}", uuid::Uuid::new_v4().simple());
        let options = PgConnectOptions::new().socket(&self.root).username(USER).database(USER);
        let mut connection = options.connect().await?;
        connection.execute(AssertSqlSafe(format!("create database {name}"))).await?;
        Ok(format!("postgres://{USER}@localhost/{name}?host={}", self.root.display()))
    }

    fn answers(&self) -> bool {
        UnixStream::connect(self.root.join(".s.PGSQL.5432")).is_ok()
    }

    async fn start(&self) -> Result<(), Failure> {
        let (home, template, data) =
            (self.root.join("home"), self.root.join("template"), self.root.join("home/data"));
        files::make_dir(&home, 0o755)?;
        if uid()? == 0 {
            run(&Program::new("chown").arg(USER).args([&self.root, &home])).await?;
        }
        if !template.join("made").exists() {
            files::remove_all(&template)?;
            let initdb = self.program("initdb")?.args(["-U", USER, "-A", "trust", "-E", "UTF8"]);
            run(&initdb.args(["--locale=C", "--no-sync", "-D"]).arg(&template)).await?;
            run(&as_user("touch")?.arg(template.join("made"))).await?;
        }
        files::remove_all(&data)?;
        run(&as_user("cp")?.arg("-a").args([&template, &data])).await?;
        // Without syncs: tests end processes, they do not cut the power.
        let settings = format!(
            "-k {} -c listen_addresses= -c max_connections=400 -c fsync=off \
            -c shared_buffers=64MB -c unix_socket_permissions=0777",
            self.root.display()
        );
        let start = self.program("pg_ctl")?.arg("-D").arg(&data).arg("-l").arg(home.join("log"));
        run(&start.args(["-w", "-o", &settings, "start"])).await
    }

    fn program(&self, name: &str) -> io::Result<Program> {
        as_user(self.programs.join(name))
    }

    fn stop(&self) -> io::Result<()> {
        let gate = lock_file(&self.root.join("gate"))?;
        gate.lock()?;
        self.users.unlock()?;
        if self.users.try_lock().is_err() {
            return Ok(());
        }
        let data = self.root.join("home/data");
        let stop = self.program("pg_ctl")?.arg("-D").arg(&data).args(["-m", "immediate", "stop"]);
        // A destructor cannot wait for a future of its own runtime.
        let stopped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(run(&stop)).map_err(|error| io::Error::other(error.to_string()))
        });
        stopped.join().unwrap_or_else(|_| Err(io::Error::other("it panicked")))?;
        files::remove_all(&data)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::warn!(%error, "could not stop PostgreSQL; the next test run will");
        }
    }
}

fn lock_file(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).open(path)
}

fn uid() -> io::Result<u32> {
    Ok(fs::metadata("/proc/self")?.uid())
}

/// A program as a user whom PostgreSQL accepts.
fn as_user(program: impl AsRef<std::ffi::OsStr>) -> io::Result<Program> {
    if uid()? != 0 {
        return Ok(Program::new(program));
    }
    let user = [format!("--reuid={USER}"), format!("--regid={USER}")];
    Ok(Program::new("setpriv").args(user).args(["--init-groups", "--"]).arg(program))
}

async fn run(program: &Program) -> Result<(), Failure> {
    let output = program.run(LIMIT).await?;
    if output.ok() {
        return Ok(());
    }
    Err(format!("{program:?} ended with {}: {}{}", output.status, output.stdout, output.stderr)
        .into())
}

/// The folder of Debian's package, the newest version first.
fn programs() -> Result<PathBuf, Failure> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter_map(|it| Some((it.file_name().to_str()?.parse().ok()?, it.path().join("bin"))))
        .filter(|(_, path)| path.join("initdb").exists())
        .collect();
    versions.sort();
    versions.pop().map(|(_, path)| path).ok_or_else(|| {
        "there is no PostgreSQL for the tests; install Debian's package `postgresql`".into()
    })
}
