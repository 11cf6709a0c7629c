//! Servers, as their owners see them, and their agents' sessions.

use std::time::Duration;

use crate::{
    audit::Entry,
    db::{Query, query},
    error::{Error, What},
    id::{At, ServerId, UserId},
    json::{self, JsonText},
    store::{Owner, System},
};

/// How a server stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum ServerState {
    /// Recorded, not enrolled yet.
    Provisioning,
    /// Its session lives.
    Online,
    /// Enrolled, no session: nothing is known of it.
    Offline,
    /// It never enrolled.
    Failed,
}

/// A server.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Server {
    /// Its id.
    #[sqlx(rename = "server_id")]
    pub id: ServerId,
    /// Whose it is.
    #[sqlx(rename = "user_id")]
    pub user: UserId,
    /// Its name.
    pub name: String,
    /// How it stands.
    pub state: ServerState,
    /// Id of its agent. None before enrollment.
    pub agent_id: Option<String>,
    /// Address and port of its agent.
    pub address: String,
    /// Version of its agent.
    pub agent_version: String,
    /// Version of its Docker.
    pub docker_version: String,
    /// Boot id of its kernel.
    pub boot_id: String,
    /// Number of the droplet; 0: not a droplet.
    pub droplet_id: i64,
    /// Region; empty: not a droplet.
    pub region: String,
    /// Image that it was made from; empty: not a droplet.
    pub image: String,
    /// Which derivation its `x-api-key` has.
    pub key_version: i64,
    /// What its agent finds wrong.
    pub problems: JsonText<Vec<String>>,
    /// What its last heartbeat said, as JSON.
    pub figures: String,
    /// Why it failed.
    pub reason: String,
    /// Last sign of life.
    pub last_seen_at: Option<At>,
    /// When it was recorded.
    pub created_at: At,
}

/// A join token to be recorded.
#[derive(Clone, Debug)]
pub struct NewJoinToken {
    /// Its id, part of the token itself.
    pub id: String,
    /// SHA-256 of its secret, lower-case hex.
    pub secret_sha256: String,
    /// Until when it holds.
    pub expires_at: At,
}

/// What an agent says of itself when its session begins.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AgentFacts {
    /// Its version.
    pub agent_version: String,
    /// Version of its Docker.
    pub docker_version: String,
    /// Boot id of its kernel.
    pub boot_id: String,
    /// Number of the droplet; 0: not a droplet.
    pub droplet_id: i64,
    /// Address and port at which it can be dialed.
    pub address: String,
}

pub(crate) const COLUMNS: &str = "server_id, user_id, name, state, agent_id, address, \
    agent_version, docker_version, boot_id, droplet_id, region, image, key_version, problems, \
    figures, reason, last_seen_at, created_at";

impl Owner {
    /// The user's servers, ordered by name.
    pub async fn servers(&self) -> Result<Vec<Server>, Error> {
        let text = format!(
            "select {COLUMNS} from server where user_id = $1 and removed_at is null order by name"
        );
        self.db().all(Query::built("list servers", text).bind(self.user)).await
    }

    /// One of the user's servers, by id or name.
    pub async fn server(&self, id_or_name: &str) -> Result<Server, Error> {
        let text = format!(
            "select {COLUMNS} from server
            where user_id = $1 and removed_at is null and (server_id = $2 or name = $2)"
        );
        self.db()
            .optional(Query::built("read a server", text).bind(self.user).bind(id_or_name))
            .await?
            .ok_or(Error::Missing { what: What::Server })
    }

    /// Names of the apps on a server.
    pub async fn apps_on(&self, server: ServerId) -> Result<Vec<String>, Error> {
        const LIST: &str = "
            select a.name, a.environment
            from app_server as s inner join app as a on s.app_id = a.app_id
            where s.server_id = $1 and a.user_id = $2 and a.removed_at is null
            order by a.name, a.environment
        ";
        let rows: Vec<(String, String)> = self
            .db()
            .all(query("list apps of a server", LIST).bind(server).bind(self.user))
            .await?;
        let print = |(name, environment): (String, String)| match environment.as_str() {
            "production" => name,
            _ => format!("{name}.{environment}"),
        };
        Ok(rows.into_iter().map(print).collect())
    }

    /// Records a machine that exists already, with the join token for it. After `deadline` without
    /// enrollment it counts as failed.
    pub async fn add_server(
        &self,
        name: &str,
        token: NewJoinToken,
        deadline: Duration,
        audit: Entry,
    ) -> Result<Server, Error> {
        const INSERT: &str = "
            insert into server (server_id, user_id, name, state, created_at, deadline_at)
            values ($1, $2, $3, 'provisioning', $4, $5)
        ";
        let (id, now) = (ServerId::new(), self.store.now());
        let mut tx = self.db().begin().await?;
        let insert = query("record a server", INSERT)
            .bind(id)
            .bind(self.user)
            .bind(name)
            .bind(now)
            .bind(now.plus(deadline));
        tx.execute(insert).await.map_err(|it| it.or_exists(What::Server, name))?;
        let insert = query("record a join token", INSERT_TOKEN)
            .bind(token.id)
            .bind(self.user)
            .bind(id)
            .bind(token.secret_sha256)
            .bind(now)
            .bind(token.expires_at);
        tx.execute(insert).await?;
        audit.append(&mut tx, now).await?;
        tx.commit().await?;
        self.server(&id.to_string()).await
    }

    /// Makes another join token for a server, for an agent that has to enroll again.
    pub async fn add_join_token(
        &self,
        server: ServerId,
        token: NewJoinToken,
        audit: Entry,
    ) -> Result<(), Error> {
        let now = self.store.now();
        self.server(&server.to_string()).await?;
        let mut tx = self.db().begin().await?;
        let insert = query("record a join token", INSERT_TOKEN)
            .bind(token.id)
            .bind(self.user)
            .bind(server)
            .bind(token.secret_sha256)
            .bind(now)
            .bind(token.expires_at);
        tx.execute(insert).await?;
        audit.append(&mut tx, now).await?;
        tx.commit().await
    }

    /// Forgets a server and revokes its certificates and tokens. Refused while apps are on it,
    /// unless `force`.
    pub async fn remove_server(
        &self,
        server: ServerId,
        force: Force,
        audit: Entry,
    ) -> Result<(), Error> {
        const REMOVE: &str = "
            update server
            set removed_at = $3, session_id = null, session_owner = null,
                state = case when state = 'online' then 'offline' else state end
            where server_id = $1 and user_id = $2 and removed_at is null returning agent_id
        ";
        const REVOKE: &str = "
            update agent_cert set state = 'revoked', revoked_at = $2
            where agent_id = $1 and state = 'active'
        ";
        const EXPIRE: &str = "
            update join_token set expires_at = $2 where server_id = $1 and used_at is null
        ";
        const UNPLACE: &str = "delete from app_server where server_id = $1";
        let apps = self.apps_on(server).await?;
        if force == Force::No && !apps.is_empty() {
            return Err(Error::InUse { what: What::Server, users: apps.join(", ") });
        }
        let now = self.store.now();
        let mut tx = self.db().begin().await?;
        let remove = query("remove a server", REMOVE).bind(server).bind(self.user).bind(now);
        let row: Option<(Option<String>,)> = tx.optional(remove).await?;
        let (agent,) = row.ok_or(Error::Missing { what: What::Server })?;
        if let Some(agent) = agent {
            tx.execute(query("revoke certificates", REVOKE).bind(agent).bind(now)).await?;
        }
        tx.execute(query("expire join tokens", EXPIRE).bind(server).bind(now)).await?;
        tx.execute(query("forget what ran on a server", UNPLACE).bind(server)).await?;
        audit.append(&mut tx, now).await?;
        tx.commit().await
    }
}

/// Whether to go on although something is in the way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Force {
    /// Go on.
    Yes,
    /// Refuse.
    No,
}

const INSERT_TOKEN: &str = "
    insert into join_token (token_id, user_id, server_id, secret_sha256, created_at, expires_at)
    values ($1, $2, $3, $4, $5, $6)
";

impl System {
    /// Anybody's server.
    pub async fn server(&self, id: ServerId) -> Result<Server, Error> {
        let text =
            format!("select {COLUMNS} from server where server_id = $1 and removed_at is null");
        self.db()
            .optional(Query::built("read a server", text).bind(id))
            .await?
            .ok_or(Error::Missing { what: What::Server })
    }

    /// The server of an agent.
    pub async fn server_of_agent(&self, agent: &str) -> Result<Server, Error> {
        let text =
            format!("select {COLUMNS} from server where agent_id = $1 and removed_at is null");
        self.db()
            .optional(Query::built("read an agent's server", text).bind(agent))
            .await?
            .ok_or(Error::Missing { what: What::Server })
    }

    /// Notes that an agent's session lives at `owner`: the server is online. An earlier session of
    /// the same agent counts as ended.
    pub async fn open_session(
        &self,
        agent: &str,
        session: &str,
        owner: &str,
        facts: &AgentFacts,
    ) -> Result<Server, Error> {
        let text = format!(
            "update server
            set state = 'online', session_id = $2, session_owner = $3, agent_version = $4,
                docker_version = $5, boot_id = $6, droplet_id = $7, address = $8,
                last_seen_at = $9, problems = '[]', reason = ''
            where agent_id = $1 and removed_at is null returning {COLUMNS}"
        );
        let mut tx = self.db().begin().await?;
        let open = Query::built("open a session", text)
            .bind(agent)
            .bind(session)
            .bind(owner)
            .bind(&facts.agent_version)
            .bind(&facts.docker_version)
            .bind(&facts.boot_id)
            .bind(facts.droplet_id)
            .bind(&facts.address)
            .bind(self.now());
        let server = tx.optional(open).await?.ok_or(Error::Missing { what: What::Server })?;
        tx.commit().await?;
        Ok(server)
    }

    /// Notes a heartbeat. False when another session has taken this one's place, or the server is
    /// gone: end it then.
    pub async fn heartbeat(
        &self,
        agent: &str,
        session: &str,
        problems: &[String],
        figures: &str,
    ) -> Result<bool, Error> {
        const BEAT: &str = "
            update server set last_seen_at = $3, problems = $4, figures = $5
            where agent_id = $1 and session_id = $2 and removed_at is null
        ";
        let beat = query("note a heartbeat", BEAT)
            .bind(agent)
            .bind(session)
            .bind(self.now())
            .bind(json::encode("problems", problems)?)
            .bind(figures);
        Ok(0 < self.db().execute(beat).await?)
    }

    /// Notes that a session has ended: the server is offline, unless a later session lives.
    pub async fn close_session(&self, agent: &str, session: &str) -> Result<(), Error> {
        const CLOSE: &str = "
            update server set state = 'offline', session_id = null, session_owner = null
            where agent_id = $1 and session_id = $2
        ";
        self.db().execute(query("close a session", CLOSE).bind(agent).bind(session)).await.map(drop)
    }

    /// Closes the sessions that a replica held before it was restarted.
    pub async fn close_sessions_of(&self, owner: &str) -> Result<u64, Error> {
        const CLOSE: &str = "
            update server set state = 'offline', session_id = null, session_owner = null
            where session_owner = $1
        ";
        self.db().execute(query("close old sessions", CLOSE).bind(owner)).await
    }

    /// Closes the sessions that no replica has heard of since `before`: their replica is gone.
    pub async fn close_silent_sessions(&self, before: At) -> Result<u64, Error> {
        const CLOSE: &str = "
            update server set state = 'offline', session_id = null, session_owner = null
            where session_id is not null and last_seen_at < $1
        ";
        self.db().execute(query("close silent sessions", CLOSE).bind(before)).await
    }

    /// Fails every server that did not enroll in time, and names them.
    pub async fn fail_overdue_servers(&self, reason: &str) -> Result<Vec<String>, Error> {
        const FAIL: &str = "
            update server set state = 'failed', reason = $2, deadline_at = null
            where state = 'provisioning' and deadline_at < $1 and removed_at is null
            returning name
        ";
        let mut tx = self.db().begin().await?;
        let fail = query("fail overdue servers", FAIL).bind(self.now()).bind(reason);
        let names: Vec<(String,)> = tx.all(fail).await?;
        tx.commit().await?;
        Ok(names.into_iter().map(|(name,)| name).collect())
    }
}
