//! `slipway token`: the caller's API tokens.

use std::time::Duration;

use slipway_proto::control::v1 as wire;

use super::Shell;
use crate::cli::{
    Error,
    output::{json, table::Table, when},
};

/// Manage API tokens.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Make a token and print it; it is shown only now
    Create {
        /// What it is for
        #[arg(value_name = "NAME", default_value = "")]
        name: String,
        /// How long it holds [default: 90d]
        #[arg(long, value_name = "TIME", value_parser = when::parse_length)]
        ttl: Option<Duration>,
        /// Only for calls that change nothing
        #[arg(long)]
        read_only: bool,
    },
    /// List tokens, without their secrets
    Ls,
    /// Revoke a token
    Rm {
        /// Id of the token
        #[arg(value_name = "ID")]
        id: String,
    },
}

/// Runs the verb.
pub(super) async fn run(command: Command, shell: &Shell<'_>) -> Result<(), Error> {
    let client = shell.connect()?;
    match command {
        Command::Create { name, ttl, read_only } => {
            let ttl = ttl.map(prost_types::Duration::try_from).transpose();
            let ttl = ttl.map_err(|_| Error::Usage("`--ttl` is too long".to_owned()))?;
            let request = wire::CreateTokenRequest { name, ttl, read_only };
            let answer = client.tokens().create_token(request).await?.into_inner();
            if shell.output.json() {
                return shell.output.document(&json::message("CreateTokenResponse", &answer));
            }
            shell.output.note("this token is shown only now:");
            shell.output.line(answer.secret)
        }
        Command::Ls => {
            let request = wire::ListTokensRequest {};
            let tokens = client.tokens().list_tokens(request).await?.into_inner().tokens;
            list(&tokens, shell)
        }
        Command::Rm { id } => {
            let request = wire::RevokeTokenRequest { token_id: id.clone() };
            client.tokens().revoke_token(request).await?;
            shell.output.note(format!("token `{id}` is revoked"));
            Ok(())
        }
    }
}

fn list(tokens: &[wire::ApiToken], shell: &Shell<'_>) -> Result<(), Error> {
    if shell.output.json() {
        return shell.output.document(&json::list("ApiToken", tokens));
    }
    let now = shell.output.clock().now();
    let mut table = Table::new(["ID", "NAME", "MAY", "MADE", "USED", "ENDS"]);
    for it in tokens {
        table.row([
            it.token_id.as_str().into(),
            it.name.as_str().into(),
            if it.read_only { "read" } else { "write" }.into(),
            when::relative(it.created_at.as_ref(), now).into(),
            when::relative(it.last_used_at.as_ref(), now).into(),
            when::relative(it.expires_at.as_ref(), now).into(),
        ]);
    }
    shell.output.table(&table, "no tokens")
}
