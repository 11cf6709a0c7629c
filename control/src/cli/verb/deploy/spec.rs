//! From flags to the message that starts a deployment. The control plane checks it; here only what
//! the flags themselves can get wrong is refused.

use std::path::{Path, PathBuf};

use slipway_proto::{agent::v1 as spec, control::v1 as wire};

use super::{Args, env};
use crate::cli::{Environment, Error};

const DOCKERFILE_LIMIT: u64 = 512 << 10;

/// Where the code comes from.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Upload {
    /// Nothing to send.
    Nothing,
    /// A folder to pack.
    Folder(PathBuf),
    /// An archive to send as it is.
    Archive(PathBuf),
}

/// What to ask for, and what to send along.
#[derive(Debug)]
pub(super) struct Request {
    /// The first message.
    pub(super) start: wire::StartDeployment,
    /// The source.
    pub(super) upload: Upload,
}

/// Makes the request.
pub(super) fn request(
    args: &Args,
    environment: &Environment,
    key: String,
) -> Result<Request, Error> {
    let (source, upload, default_name) = source(args, environment)?;
    let app = match (&args.name, default_name) {
        (Some(name), _) => name.clone(),
        (None, Some(name)) => name,
        (None, None) => {
            return Err(Error::Usage(
                "no name for the app can be told from its source; give one with `-n`".to_owned(),
            ));
        }
    };
    let env::Variables { env, secrets } = env::gather(args, environment)?;
    let timeout = args.timeout.map(prost_types::Duration::try_from).transpose();
    let spec = spec::AppSpec {
        app,
        service: String::new(),
        environment: args.environment.clone().unwrap_or_default(),
        source: Some(spec::Source { kind: Some(source) }),
        port: args.port.as_deref().map(port).transpose()?.unwrap_or(0),
        env: env.into_iter().collect(),
        secrets: secrets.into_iter().collect(),
        tags: args.tags.clone(),
        health: Some(spec::HealthCheck {
            path: args.health_path.clone().unwrap_or_default(),
            interval: None,
            timeout: timeout.map_err(|_| Error::Usage("`--timeout` is too long".to_owned()))?,
        }),
        resources: Some(spec::Resources {
            memory_bytes: args.memory.as_deref().map(memory).transpose()?.unwrap_or(0),
            cpu_millis: args.cpus.as_deref().map(cpus).transpose()?.unwrap_or(0),
            pids: 0,
        }),
        domains: args.domains.clone(),
        volumes: args.volumes.iter().map(|it| volume(it)).collect::<Result<_, _>>()?,
        replicas: args.replicas.unwrap_or(0),
        command: Vec::new(),
        drain_timeout: None,
        stop_grace: None,
    };
    let start = wire::StartDeployment {
        spec: Some(spec),
        servers: args.servers.clone(),
        idempotency_key: key,
    };
    Ok(Request { start, upload })
}

type Chosen = (spec::source::Kind, Upload, Option<String>);

fn source(args: &Args, environment: &Environment) -> Result<Chosen, Error> {
    let variable = |name: &str| environment.get(name).unwrap_or_default().to_owned();
    if let Some(reference) = &args.image {
        let image = spec::ImageSource {
            reference: reference.clone(),
            username: variable("SLIPWAY_REGISTRY_USER"),
            password: variable("SLIPWAY_REGISTRY_PASSWORD"),
        };
        return Ok((spec::source::Kind::Image(image), Upload::Nothing, name_of_image(reference)));
    }
    if let Some(url) = &args.git {
        // In a repository the path means the repository's file; `./x` and `/x` mean a local one.
        let local = args.dockerfile.as_deref().filter(|it| it.is_absolute() || it.starts_with("."));
        let build = match (local, &args.dockerfile) {
            (Some(file), _) => {
                spec::Build { dockerfile: read_dockerfile(file)?, ..Default::default() }
            }
            (None, Some(path)) => {
                spec::Build { dockerfile_path: text(path)?, ..Default::default() }
            }
            (None, None) => spec::Build::default(),
        };
        let git = spec::GitSource {
            url: url.clone(),
            r#ref: args.git_ref.clone().unwrap_or_default(),
            token: variable("SLIPWAY_GIT_TOKEN"),
            build: Some(build),
        };
        return Ok((spec::source::Kind::Git(git), Upload::Nothing, name_of_url(url)));
    }
    code(args)
}

fn code(args: &Args) -> Result<Chosen, Error> {
    let path = args.path.clone().unwrap_or_else(|| PathBuf::from("."));
    let kind = std::fs::metadata(&path).map_err(|source| Error::File {
        action: "read",
        path: path.clone(),
        source,
    })?;
    let folder = kind.is_dir();
    let build = match &args.dockerfile {
        None => spec::Build::default(),
        Some(file) if !folder => spec::Build { dockerfile_path: text(file)?, ..Default::default() },
        Some(file) => within(&path, file)?,
    };
    let archive =
        spec::ArchiveSource { size_bytes: 0, sha256: Vec::new().into(), build: Some(build) };
    let name = std::fs::canonicalize(&path).ok().and_then(|it| name_of_path(&it));
    let upload = if folder { Upload::Folder(path) } else { Upload::Archive(path) };
    Ok((spec::source::Kind::Archive(archive), upload, name))
}

/// A Dockerfile of the folder by its path in it; another one by its text.
fn within(folder: &Path, file: &Path) -> Result<spec::Build, Error> {
    if file.is_relative() && folder.join(file).is_file() {
        return Ok(spec::Build { dockerfile_path: text(file)?, ..Default::default() });
    }
    let inside = std::fs::canonicalize(folder).ok().zip(std::fs::canonicalize(file).ok());
    if let Some((folder, file)) = inside
        && let Ok(path) = file.strip_prefix(&folder)
    {
        return Ok(spec::Build { dockerfile_path: text(path)?, ..Default::default() });
    }
    Ok(spec::Build { dockerfile: read_dockerfile(file)?, ..Default::default() })
}

fn read_dockerfile(path: &Path) -> Result<String, Error> {
    let wrap = |source| Error::File { action: "read", path: path.to_owned(), source };
    let bytes = slipway_host::fs::read_limited(path, DOCKERFILE_LIMIT)
        .map_err(wrap)?
        .ok_or_else(|| Error::Usage(format!("there is no Dockerfile `{}`", path.display())))?;
    String::from_utf8(bytes)
        .map_err(|_| Error::Usage(format!("`{}` is not UTF-8 text", path.display())))
}

fn text(path: &Path) -> Result<String, Error> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| Error::Usage(format!("the path `{}` is not UTF-8", path.display())))
}

fn port(text: &str) -> Result<u32, Error> {
    text.parse::<u16>().ok().filter(|it| *it > 0).map(u32::from).ok_or_else(|| {
        slipway_proto::problem::Problem::invalid(
            "SW-PORT",
            "port",
            format!("`{text}` is not a port"),
        )
        .hint("use a number from 1 to 65535")
        .into()
    })
}

/// `512m`, `1g`, `64MiB`, or bytes.
fn memory(text: &str) -> Result<u64, Error> {
    let refuse = || {
        slipway_proto::problem::Problem::invalid(
            "SW-MEMORY",
            "memory",
            format!("`{text}` is not a size"),
        )
        .hint("write 512m, 1g, or bytes")
    };
    let digits = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "ki" | "kib" => 1 << 10,
        "m" | "mb" | "mi" | "mib" => 1 << 20,
        "g" | "gb" | "gi" | "gib" => 1 << 30,
        _ => return Err(refuse().into()),
    };
    let number: u64 = number.parse().map_err(|_| refuse())?;
    number.checked_mul(scale).filter(|it| *it > 0).ok_or_else(|| refuse().into())
}

/// `2`, `0.5`, `1.25`, in thousandths.
fn cpus(text: &str) -> Result<u32, Error> {
    let refuse = || {
        slipway_proto::problem::Problem::invalid(
            "SW-CPUS",
            "cpus",
            format!("`{text}` is not a number of CPUs"),
        )
        .hint("write 2 or 0.5")
    };
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |it: &str| it.bytes().all(|it| it.is_ascii_digit());
    if part.len() > 3 || !digits(whole) || !digits(part) || whole.is_empty() {
        return Err(refuse().into());
    }
    let whole: u32 = whole.parse().map_err(|_| refuse())?;
    let part: u32 = format!("{part:0<3}").parse().map_err(|_| refuse())?;
    let millis = whole.checked_mul(1_000).and_then(|it| it.checked_add(part));
    millis.filter(|it| *it > 0).ok_or_else(|| refuse().into())
}

fn volume(text: &str) -> Result<spec::Volume, Error> {
    match text.split_once(':') {
        Some((name, path)) if !name.is_empty() && path.starts_with('/') => {
            Ok(spec::Volume { name: name.to_owned(), path: path.to_owned() })
        }
        _ => Err(slipway_proto::problem::Problem::invalid(
            "SW-VOLUME",
            "volumes",
            format!("`{text}` is not a volume"),
        )
        .hint("write NAME:/PATH, such as data:/var/lib/app")
        .into()),
    }
}

fn name_of_path(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let stem = [".tar.gz", ".tgz", ".tar", ".zip"].iter().find_map(|it| name.strip_suffix(it));
    name_from(stem.unwrap_or(name))
}

fn name_of_url(url: &str) -> Option<String> {
    let last = url.trim_end_matches('/').rsplit('/').next()?;
    name_from(last.strip_suffix(".git").unwrap_or(last))
}

fn name_of_image(reference: &str) -> Option<String> {
    let last = reference.split('@').next()?.rsplit('/').next()?;
    name_from(last.split(':').next()?)
}

/// The nearest name that the grammar allows: `My_App 2` is `my-app-2`.
fn name_from(text: &str) -> Option<String> {
    let mut name = String::new();
    for letter in text.chars() {
        match letter.to_ascii_lowercase() {
            it if it.is_ascii_lowercase() || it.is_ascii_digit() => name.push(it),
            _ if name.ends_with('-') => (),
            _ => name.push('-'),
        }
    }
    let name = name.trim_start_matches(|it: char| !it.is_ascii_lowercase());
    let name: String = name.chars().take(40).collect();
    let name = name.trim_end_matches('-');
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(args: Args) -> Request {
        request(&args, &Environment::default(), "key".to_owned()).unwrap()
    }

    fn refused(args: Args) -> String {
        request(&args, &Environment::default(), "key".to_owned()).unwrap_err().to_string()
    }

    fn image() -> Args {
        Args { image: Some("ghcr.io/me/My_Shop:1.4".to_owned()), ..Args::default() }
    }

    #[test]
    fn names_come_from_the_source() {
        assert_eq!(made(image()).start.spec.unwrap().app, "my-shop");
        let git =
            Args { git: Some("https://example.com/me/blog.git/".to_owned()), ..Args::default() };
        assert_eq!(made(git).start.spec.unwrap().app, "blog");
        assert_eq!(name_of_path(Path::new("/x/2048 Game.tar.gz")).unwrap(), "game");
        assert_eq!(name_from("__"), None);
    }

    #[test]
    fn a_folder_is_packed_and_its_dockerfile_named_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("shop");
        std::fs::create_dir_all(folder.join("docker")).unwrap();
        std::fs::write(folder.join("docker/Prod"), "FROM scratch\n").unwrap();
        std::fs::write(dir.path().join("Other"), "FROM busybox\n").unwrap();
        let build = |file: PathBuf| {
            let made = made(Args {
                path: Some(folder.clone()),
                dockerfile: Some(file),
                ..Args::default()
            });
            assert_eq!(made.upload, Upload::Folder(folder.clone()));
            match made.start.spec.unwrap().source.unwrap().kind.unwrap() {
                spec::source::Kind::Archive(it) => it.build.unwrap(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(build(PathBuf::from("docker/Prod")).dockerfile_path, "docker/Prod");
        assert_eq!(build(folder.join("docker/Prod")).dockerfile_path, "docker/Prod");
        assert_eq!(build(dir.path().join("Other")).dockerfile, "FROM busybox\n");
    }

    #[test]
    fn sizes_and_cpus_are_what_docker_users_write() {
        let args = Args {
            memory: Some("512m".to_owned()),
            cpus: Some("1.25".to_owned()),
            volumes: vec!["data:/srv".to_owned()],
            port: Some("3000".to_owned()),
            ..image()
        };
        let spec = made(args).start.spec.unwrap();
        let resources = spec.resources.unwrap();
        assert_eq!((resources.memory_bytes, resources.cpu_millis), (512 << 20, 1_250));
        assert_eq!((spec.port, spec.volumes[0].path.as_str()), (3000, "/srv"));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_code() {
        for port in ["0", "-1", "65536", "80;", "0x50", ""] {
            let text = refused(Args { port: Some(port.to_owned()), ..image() });
            assert!(text.starts_with("SW-PORT"), "{port}: {text}");
        }
        for memory in ["", "12q", "m", "99999999999999999999", "0"] {
            let text = refused(Args { memory: Some(memory.to_owned()), ..image() });
            assert!(text.starts_with("SW-MEMORY"), "{memory}: {text}");
        }
        for cpus in ["", "0", "1.2345", "x", "-1", ".5"] {
            let text = refused(Args { cpus: Some(cpus.to_owned()), ..image() });
            assert!(text.starts_with("SW-CPUS"), "{cpus}: {text}");
        }
        for volume in ["data", ":/x", "data:x", ""] {
            let text = refused(Args { volumes: vec![volume.to_owned()], ..image() });
            assert!(text.starts_with("SW-VOLUME"), "{volume}: {text}");
        }
    }
}
