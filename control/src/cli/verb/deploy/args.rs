//! The flags of `slipway deploy`.

use std::path::PathBuf;

/// Build, start and switch to a new release of an app.
///
/// Without --git and --image the source is the folder PATH: it is packed (heeding .slipwayignore, else
/// .dockerignore, else .gitignore), uploaded and built there. A folder without a Dockerfile gets one
/// made for it. The old release serves until the new one has answered its health check.
#[derive(clap::Args, Debug, Default)]
#[command(after_long_help = AFTER_HELP)]
pub struct Args {
    /// Folder to build, or an archive of one (tar, tar.gz, zip) [default: .]
    #[arg(value_name = "PATH", conflicts_with_all = ["git", "image"])]
    pub path: Option<PathBuf>,
    /// Name of the app [default: from the folder, repository or image]
    #[arg(short, long)]
    pub name: Option<String>,
    /// Port on which the app listens; it finds it in $PORT [default: what the image exposes, else 8080]
    #[arg(short, long, value_name = "PORT")]
    pub port: Option<String>,
    /// Build this git repository; the token for a private one comes from `SLIPWAY_GIT_TOKEN`
    #[arg(long, value_name = "URL", conflicts_with = "image", help_heading = "Source")]
    pub git: Option<String>,
    /// Branch, tag or commit [default: the repository's own]
    #[arg(long = "ref", value_name = "REF", requires = "git", help_heading = "Source")]
    pub git_ref: Option<String>,
    /// Run this image; a registry's login comes from `SLIPWAY_REGISTRY_USER` and `_PASSWORD`
    #[arg(long, value_name = "REF", help_heading = "Source")]
    pub image: Option<String>,
    /// Dockerfile within the source, or a local file to send along
    #[arg(long, value_name = "FILE", conflicts_with = "image", help_heading = "Source")]
    pub dockerfile: Option<PathBuf>,
    /// Deploy to this server; may be repeated [default: where it runs, or the only one]
    #[arg(short, long = "server", value_name = "SERVER")]
    pub servers: Vec<String>,
    /// Set a variable; without a value it is taken from this environment
    #[arg(short, long = "env", value_name = "NAME[=VALUE]", help_heading = "Environment")]
    pub env: Vec<String>,
    /// Read variables from a file of NAME=VALUE lines
    #[arg(long, value_name = "FILE", help_heading = "Environment")]
    pub env_file: Vec<PathBuf>,
    /// Pass a secret: its value comes from this environment or from an --env-file
    #[arg(long = "secret", value_name = "NAME", help_heading = "Environment")]
    pub secrets: Vec<String>,
    /// Environment, such as staging [default: production]
    #[arg(short = 'd', long, value_name = "NAME")]
    pub environment: Option<String>,
    /// Label to find the app by; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// Serve under this host name; may be repeated [default: a port of its own]
    #[arg(long = "domain", value_name = "DOMAIN", help_heading = "Running")]
    pub domains: Vec<String>,
    /// Path that must answer 2xx or 3xx before traffic moves [default: the port must answer]
    #[arg(long, value_name = "/PATH", help_heading = "Running")]
    pub health_path: Option<String>,
    /// How long a new container may take to become healthy [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = crate::cli::output::when::parse_length, help_heading = "Running")]
    pub timeout: Option<std::time::Duration>,
    /// Number of containers [default: 1]
    #[arg(long, value_name = "N", help_heading = "Running")]
    pub replicas: Option<u32>,
    /// Keep this folder between releases; may be repeated
    #[arg(long = "volume", value_name = "NAME:/PATH", help_heading = "Running")]
    pub volumes: Vec<String>,
    /// Memory of each container, such as 512m or 1g
    #[arg(long, value_name = "SIZE", help_heading = "Running")]
    pub memory: Option<String>,
    /// CPUs of each container, such as 0.5
    #[arg(long, value_name = "N", help_heading = "Running")]
    pub cpus: Option<String>,
    /// Return as soon as the deployment needs this command no more, and print its id
    #[arg(long)]
    pub detach: bool,
}

const AFTER_HELP: &str = "\
Examples:
  slipway deploy                                   this folder
  slipway deploy ./shop -n shop -p 3000 --health-path /up
  slipway deploy --git https://github.com/me/shop --ref v2
  slipway deploy --image ghcr.io/me/shop:1.4 -e LOG=debug --secret DATABASE_URL

Ctrl-C cancels the deployment and waits until everything is put back; a second one leaves it.
Secrets are never taken from the command line, where other users could read them.";
