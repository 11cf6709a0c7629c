//! How a person calls an agent directly: a certificate for an hour, its key made here and kept here.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;
use slipway_host::fs;
use slipway_proto::control::v1 as wire;

use super::Shell;
use crate::cli::{Error, connect::Client, output::when};

/// Print a line with which grpcurl calls the agent directly.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Name or id of the server
    #[arg(value_name = "SERVER")]
    pub server: String,
    /// Method to call
    #[arg(value_name = "METHOD", default_value = "slipway.agent.v1.NodeService/GetHealth")]
    pub method: String,
    /// How long the certificate holds, at most 8h [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = when::parse_length)]
    pub ttl: Option<Duration>,
    /// Also for calls that change something
    #[arg(long)]
    pub write: bool,
}

/// Runs the verb.
pub(super) async fn run(client: &Client, args: Args, shell: &Shell<'_>) -> Result<(), Error> {
    let broken = |what: &str| Error::local(format!("{what} could not be made"), "");
    let key = KeyPair::generate().map_err(|_| broken("a key"))?;
    let csr = CertificateParams::default()
        .serialize_request(&key)
        .map_err(|_| broken("a certificate request"))?;
    let ttl = args.ttl.map(prost_types::Duration::try_from).transpose();
    let request = wire::IssueOperatorCertificateRequest {
        server: args.server.clone(),
        csr_der: csr.der().to_vec().into(),
        ttl: ttl.map_err(|_| Error::Usage("`--ttl` is too long".to_owned()))?,
        write: args.write,
    };
    let issued = client.servers().issue_operator_certificate(request).await?.into_inner();
    let dir = shell.environment.cache_dir().join("grpcurl").join(safe(&args.server));
    keep(&dir, &issued, &key.serialize_pem())?;
    let command = command(&dir, &issued, &args.method);
    if shell.output.json() {
        return shell.output.document(&json!({
            "command": command,
            "address": issued.address,
            "tls_name": issued.tls_name,
            "folder": dir,
        }));
    }
    shell
        .output
        .note("this works until the certificate ends; run the command again for a new one:");
    shell.output.line(command)
}

/// Writes what grpcurl reads, for this user only.
fn keep(
    dir: &Path,
    issued: &wire::IssueOperatorCertificateResponse,
    key_pem: &str,
) -> Result<(), Error> {
    let wrap = |path: PathBuf| move |source| Error::File { action: "write", path, source };
    fs::make_dir(dir, 0o700).map_err(wrap(dir.to_owned()))?;
    let files = [
        ("ca.pem", pem(&issued.ca_der)),
        ("cert.pem", pem(&issued.chain_der)),
        ("key.pem", key_pem.to_owned()),
        ("api-key", issued.api_key.clone()),
    ];
    for (name, text) in files {
        let path = dir.join(name);
        fs::replace(&path, text.as_bytes(), 0o600).map_err(wrap(path))?;
    }
    Ok(())
}

/// The key stays in its file: grpcurl puts it into the header from the environment of this one call.
fn command(dir: &Path, issued: &wire::IssueOperatorCertificateResponse, method: &str) -> String {
    let dir = dir.display();
    format!(
        "SLIPWAY_KEY=\"$(cat '{dir}/api-key')\" grpcurl -cacert '{dir}/ca.pem' -cert '{dir}/cert.pem' \
         -key '{dir}/key.pem' -authority {} -expand-headers -H 'x-api-key: ${{SLIPWAY_KEY}}' {} {method}",
        issued.tls_name, issued.address
    )
}

fn pem(certificates: &[bytes::Bytes]) -> String {
    let mut text = String::new();
    for der in certificates {
        let body = STANDARD.encode(der);
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let mut rest = body.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at_checked(64).unwrap_or((rest, ""));
            text.push_str(line);
            text.push('\n');
            rest = after;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

/// A folder name for a server's name or id.
fn safe(server: &str) -> String {
    server
        .chars()
        .map(|it| if it.is_ascii_alphanumeric() || it == '-' { it } else { '_' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_files_and_never_the_key() {
        let issued = wire::IssueOperatorCertificateResponse {
            tls_name: "a.agents.slipway.internal".to_owned(),
            address: "127.0.0.1:9999".to_owned(),
            api_key: "s3cret".to_owned(),
            chain_der: vec![vec![7; 100].into()],
            ..Default::default()
        };
        let dir = tempfile::tempdir().unwrap();
        keep(dir.path(), &issued, "KEY").unwrap();
        let line = command(dir.path(), &issued, "slipway.agent.v1.NodeService/GetHealth");
        assert!(!line.contains("s3cret"), "{line}");
        assert!(line.ends_with("127.0.0.1:9999 slipway.agent.v1.NodeService/GetHealth"), "{line}");
        let pem = std::fs::read_to_string(dir.path().join("cert.pem")).unwrap();
        assert!(pem.lines().all(|it| it.len() <= 64), "{pem}");
    }
}
