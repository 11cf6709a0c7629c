//! `slipway user`: who may use this control plane.

use slipway_proto::control::v1 as wire;

use super::Shell;
use crate::cli::{
    Error,
    output::{json, table::Table, when},
};

/// Manage users.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Add a user and print its first token, which is shown only now
    Add {
        /// Name of the user
        #[arg(value_name = "NAME")]
        name: String,
        /// May manage other users
        #[arg(long)]
        admin: bool,
    },
    /// List users
    Ls,
}

/// Runs the verb.
pub(super) async fn run(command: Command, shell: &Shell<'_>) -> Result<(), Error> {
    let client = shell.connect()?;
    match command {
        Command::Add { name, admin } => {
            let request = wire::CreateUserRequest { name, admin };
            let answer = client.users().create_user(request).await?.into_inner();
            if shell.output.json() {
                return shell.output.document(&json::message("CreateUserResponse", &answer));
            }
            let name = answer.user.unwrap_or_default().name;
            shell.output.note(format!("`{name}` logs in with this token; it is shown only now:"));
            shell.output.line(answer.token)
        }
        Command::Ls => {
            let users =
                client.users().list_users(wire::ListUsersRequest {}).await?.into_inner().users;
            if shell.output.json() {
                return shell.output.document(&json::list("User", &users));
            }
            let now = shell.output.clock().now();
            let mut table = Table::new(["NAME", "ROLE", "ADDED", "ID"]);
            for it in &users {
                table.row([
                    it.name.as_str().into(),
                    if it.admin { "admin" } else { "user" }.into(),
                    when::relative(it.created_at.as_ref(), now).into(),
                    it.user_id.as_str().into(),
                ]);
            }
            shell.output.table(&table, "no users")
        }
    }
}
