//! Deployments: recorded with their operation, their app and their release in one transaction, and
//! ended in one.

use std::collections::HashSet;

use slipway_host::failpoint;

use crate::{
    audit::Entry,
    blob::Digest,
    db::{Query, Tx, query},
    error::{Error, What},
    event::{Appender, Done, Failure},
    hub::Topic,
    id::{AppId, At, OperationId, ServerId, UserId},
    json::{self, JsonText},
    operation::{NewOperation, Operation, Recorded},
    secret::Sealed,
    store::{Claimant, Epoch, Owner, System},
};

/// How a deployment stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum DeploymentState {
    /// Accepted, waiting for its source or for another deployment of the app.
    Queued,
    /// At work.
    Running,
    /// Putting things back.
    Undoing,
    /// Every server serves the new release.
    Succeeded,
    /// Put back: every server serves what it served before.
    Failed,
    /// Needs a person.
    Stuck,
}

impl DeploymentState {
    const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Undoing => "undoing",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Stuck => "stuck",
        }
    }
}

/// Where a release came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum SourceKind {
    /// An uploaded archive.
    Code,
    /// A git repository.
    Git,
    /// An image.
    Image,
    /// An earlier release.
    Rollback,
}

impl SourceKind {
    /// Its name in the database and in the contract.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Git => "git",
            Self::Image => "image",
            Self::Rollback => "rollback",
        }
    }
}

/// A deployment.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Deployment {
    /// Its id, the same as its operation's.
    #[sqlx(rename = "operation_id")]
    pub id: OperationId,
    /// Whose it is.
    #[sqlx(rename = "user_id")]
    pub user: UserId,
    /// The app.
    pub app_id: AppId,
    /// The app's name.
    pub app: String,
    /// The app's environment.
    pub environment: String,
    /// Number of the release.
    pub release: i64,
    /// How it stands.
    pub state: DeploymentState,
    /// Where the release comes from.
    pub source: SourceKind,
    /// The same, for people.
    pub source_detail: String,
    /// SHA-256 of its archive, once that is complete.
    pub blob: Option<String>,
    /// Why it failed.
    pub error: Option<JsonText<Failure>>,
    /// When it was accepted.
    pub created_at: At,
    /// When it ended.
    pub ended_at: Option<At>,
    /// Number of its newest event.
    pub last_seq: i64,
}

/// How a deployment stands on a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum DeploymentServerState {
    /// Not begun.
    Pending,
    /// At work.
    Running,
    /// The server serves the new release.
    Succeeded,
    /// It does not.
    Failed,
}

impl DeploymentServerState {
    const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// A deployment on a server.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct DeploymentServer {
    /// The server.
    pub server_id: ServerId,
    /// Its name, as it was.
    pub name: String,
    /// Its address, as it was.
    pub address: String,
    /// How the deployment stands there.
    pub state: DeploymentServerState,
    /// Image that was built or pulled there.
    pub image_id: String,
    /// Where the app answers.
    pub urls: JsonText<Vec<String>>,
    /// Why it failed there.
    pub error: Option<JsonText<Failure>>,
    /// Number of the agent's newest event that is among ours: go on after it.
    pub agent_seq: i64,
}

/// A deployment to be recorded.
#[derive(Clone, Debug)]
pub struct NewDeployment {
    /// Its operation.
    pub operation: NewOperation,
    /// The app's name.
    pub app: String,
    /// The app's environment.
    pub environment: String,
    /// The app's tags from now on.
    pub tags: Vec<String>,
    /// The specification as JSON, without secrets.
    pub spec: String,
    /// Its secrets, sealed under [`Release::record`](crate::Release::record) of the operation.
    pub secrets: Option<Sealed>,
    /// Where the release comes from.
    pub source: SourceKind,
    /// The same, for people.
    pub source_detail: String,
    /// Where it goes.
    pub servers: Vec<ServerId>,
}

/// What a deployment came to on a server.
#[derive(Clone, Debug)]
pub struct ServerOutcome {
    /// The server.
    pub server_id: ServerId,
    /// How it stands.
    pub state: DeploymentServerState,
    /// Image that was built or pulled there; empty: none.
    pub image_id: String,
    /// Where the app answers.
    pub urls: Vec<String>,
    /// Why it failed there.
    pub error: Option<Failure>,
}

const COLUMNS: &str = "d.operation_id, d.user_id, d.app_id, d.app, d.environment, d.release, \
    d.state, d.source, d.source_detail, d.blob, d.error, d.created_at, d.ended_at, o.last_seq";

const FROM: &str =
    "from deployment as d inner join operation as o on d.operation_id = o.operation_id";

impl Owner {
    /// Records a deployment: its operation with the first event, its app if it is new, the next
    /// release of it, and its servers, all or nothing. `claimant` holds it at once.
    pub async fn create_deployment(
        &self,
        new: NewDeployment,
        claimant: &Claimant,
        audit: Entry,
    ) -> Result<Recorded<Operation>, Error> {
        let id = new.operation.id;
        let now = self.store.now();
        let mut tx = self.db().begin().await?;
        let mut appender = Appender::lock(&mut tx, now).await?;
        if let Some(key) = &new.operation.idempotency_key
            && let Some(operation) = self.find_by_key(appender.tx(), key).await?
        {
            return Ok(Recorded::Existing(operation));
        }
        let NewDeployment {
            operation,
            app,
            environment,
            tags,
            spec,
            secrets,
            source,
            source_detail,
            servers,
        } = new;
        self.insert_operation(&mut appender, operation, Some(claimant)).await?;
        appender.finish().await?;
        let tags = json::encode("tags", &tags)?;
        let (app_id, release) = self.next_release(&mut tx, &app, &environment, tags).await?;
        let row = Row { id, app_id, release, source, source_detail, now };
        self.insert_rows(&mut tx, &row, (&app, &environment), spec).await?;
        for server in servers {
            self.insert_server(&mut tx, id, server).await?;
        }
        if let Some(secrets) = secrets {
            self.insert_sealed(&mut tx, &secrets).await?;
        }
        audit.append(&mut tx, now).await?;
        failpoint!("store.create.before");
        tx.commit().await?;
        failpoint!("store.create.after");
        self.store.hub().poke(Topic::Events(id));
        self.operation(id).await.map(Recorded::New)
    }

    async fn insert_rows(
        &self,
        tx: &mut Tx,
        row: &Row,
        (app, environment): (&str, &str),
        spec: String,
    ) -> Result<(), Error> {
        const DEPLOYMENT: &str = "
            insert into deployment
                (operation_id, user_id, app_id, app, environment, release, state, source,
                source_detail, created_at)
            values ($1, $2, $3, $4, $5, $6, 'queued', $7, $8, $9)
        ";
        const RELEASE: &str = "
            insert into release
                (app_id, number, operation_id, spec, source, source_detail, kept, created_at)
            values ($1, $2, $3, $4, $5, $6, false, $7)
        ";
        let insert = query("record a deployment", DEPLOYMENT)
            .bind(row.id)
            .bind(self.user)
            .bind(row.app_id)
            .bind(app)
            .bind(environment)
            .bind(row.release)
            .bind(row.source.name())
            .bind(&row.source_detail)
            .bind(row.now);
        tx.execute(insert).await?;
        let insert = query("record a release", RELEASE)
            .bind(row.app_id)
            .bind(row.release)
            .bind(row.id)
            .bind(spec)
            .bind(row.source.name())
            .bind(&row.source_detail)
            .bind(row.now);
        tx.execute(insert).await.map(drop)
    }

    async fn insert_server(
        &self,
        tx: &mut Tx,
        id: OperationId,
        server: ServerId,
    ) -> Result<(), Error> {
        const INSERT: &str = "
            insert into deployment_server (operation_id, server_id, name, address, state)
            select $1, server_id, name, address, 'pending' from server
            where server_id = $2 and user_id = $3 and removed_at is null
        ";
        let insert = query("record where it goes", INSERT).bind(id).bind(server).bind(self.user);
        match tx.execute(insert).await? {
            0 => Err(Error::Missing { what: What::Server }),
            _ => Ok(()),
        }
    }

    /// One of the user's deployments, by its id or by a prefix of at least 6 characters that only
    /// it has.
    pub async fn deployment(&self, id: &str) -> Result<Deployment, Error> {
        let missing = Error::Missing { what: What::Deployment };
        let plain = id.chars().all(|it| it.is_ascii_hexdigit() || it == '-');
        if id.len() < 6 || 36 < id.len() || !plain {
            return Err(missing);
        }
        let text = format!(
            "select {COLUMNS} {FROM}
            where d.user_id = $1 and d.operation_id >= $2 and d.operation_id <= $3
            order by d.operation_id limit 2"
        );
        let first = id.to_ascii_lowercase();
        // Sorts after every id that begins so.
        let last = format!("{first}g");
        let find = Query::built("read a deployment", text).bind(self.user).bind(&first).bind(last);
        let mut found: Vec<Deployment> = self.db().all(find).await?;
        if 1 < found.len() {
            return Err(Error::Ambiguous { what: What::Deployment, prefix: first });
        }
        found.pop().ok_or(missing)
    }

    /// The user's deployments, newest first, at most `limit`: only of the app if one is named, and
    /// only those before `before`, the last one of the page before.
    pub async fn deployments(
        &self,
        app: Option<&str>,
        before: Option<OperationId>,
        limit: u32,
    ) -> Result<Vec<Deployment>, Error> {
        let text = format!(
            "select {COLUMNS} {FROM}
            where d.user_id = $1 and ($2 = '' or d.app = $2) and ($3 = '' or d.operation_id < $3)
            order by d.operation_id desc limit $4"
        );
        let list = Query::built("list deployments", text)
            .bind(self.user)
            .bind(app.unwrap_or_default())
            .bind(before.map(|it| it.to_string()).unwrap_or_default())
            .bind(i64::from(limit));
        self.db().all(list).await
    }

    /// How one of the user's deployments stands on each of its servers, by name.
    pub async fn deployment_servers(
        &self,
        id: OperationId,
    ) -> Result<Vec<DeploymentServer>, Error> {
        const LIST: &str = "
            select s.server_id, s.name, s.address, s.state, s.image_id, s.urls, s.error,
                s.agent_seq
            from deployment_server as s
            inner join deployment as d on s.operation_id = d.operation_id
            where s.operation_id = $1 and d.user_id = $2 order by s.name
        ";
        self.db().all(query("list where it goes", LIST).bind(id).bind(self.user)).await
    }
}

struct Row {
    id: OperationId,
    app_id: AppId,
    release: i64,
    source: SourceKind,
    source_detail: String,
    now: At,
}

impl System {
    /// Anybody's deployment.
    pub async fn deployment(&self, id: OperationId) -> Result<Deployment, Error> {
        let text = format!("select {COLUMNS} {FROM} where d.operation_id = $1");
        let read = Query::built("read a deployment", text).bind(id);
        self.db().optional(read).await?.ok_or(Error::Missing { what: What::Deployment })
    }

    /// Notes how a deployment stands.
    pub async fn set_deployment_state(
        &self,
        id: OperationId,
        epoch: Epoch,
        state: DeploymentState,
    ) -> Result<(), Error> {
        const SET: &str =
            "update deployment set state = $2 where operation_id = $1 and ended_at is null";
        let mut tx = self.db().begin().await?;
        self.store.fence(&mut tx, id, epoch).await?;
        let set = query("note how a deployment stands", SET).bind(id).bind(state.name());
        tx.execute(set).await?;
        tx.commit().await
    }

    /// Notes that a deployment's archive is complete. Until it ends the blob is kept.
    pub async fn set_deployment_blob(
        &self,
        id: OperationId,
        epoch: Epoch,
        blob: Digest,
    ) -> Result<(), Error> {
        const SET: &str = "update deployment set blob = $2 where operation_id = $1";
        let mut tx = self.db().begin().await?;
        self.store.fence(&mut tx, id, epoch).await?;
        tx.execute(query("note an archive", SET).bind(id).bind(blob.to_string())).await?;
        failpoint!("store.blob.before");
        tx.commit().await?;
        failpoint!("store.blob.after");
        Ok(())
    }

    /// Notes how a deployment stands on a server.
    pub async fn set_deployment_server(
        &self,
        id: OperationId,
        epoch: Epoch,
        outcome: &ServerOutcome,
    ) -> Result<(), Error> {
        let mut tx = self.db().begin().await?;
        self.store.fence(&mut tx, id, epoch).await?;
        write_server(&mut tx, id, outcome).await?;
        tx.commit().await
    }

    /// How a deployment stands on each of its servers, by name.
    pub async fn deployment_servers(
        &self,
        id: OperationId,
    ) -> Result<Vec<DeploymentServer>, Error> {
        const LIST: &str = "
            select server_id, name, address, state, image_id, urls, error, agent_seq
            from deployment_server where operation_id = $1 order by name
        ";
        self.db().all(query("list where it goes", LIST).bind(id)).await
    }

    /// Ends an operation that no handler can end, so that nothing waits for ever. A deployment
    /// becomes stuck: a person has to look.
    pub async fn abandon(
        &self,
        id: OperationId,
        epoch: Epoch,
        failure: Failure,
    ) -> Result<(), Error> {
        const STICK: &str = "
            update deployment set state = 'stuck', error = $2, ended_at = $3
            where operation_id = $1 and ended_at is null
        ";
        let error = json::encode("an error", &failure)?;
        let mut tx = self.db().begin().await?;
        let done = Done { error: Some(failure), ..Done::default() };
        let freed = self.end(&mut tx, id, epoch, done).await?;
        let stick = query("give a deployment up", STICK).bind(id).bind(error).bind(self.now());
        tx.execute(stick).await?;
        tx.commit().await?;
        self.ended(id, freed);
        Ok(())
    }

    /// Ends a deployment: its state, its servers, its release, its app, its lock, its last event
    /// and its operation, all or nothing. On success the release serves from now on.
    pub async fn finish_deployment(
        &self,
        id: OperationId,
        epoch: Epoch,
        state: DeploymentState,
        outcomes: &[ServerOutcome],
        done: Done,
    ) -> Result<(), Error> {
        const END: &str = "
            update deployment set state = $2, error = $3, ended_at = $4 where operation_id = $1
        ";
        let now = self.now();
        let error = match &done.error {
            Some(error) => Some(json::encode("an error", error)?),
            None => None,
        };
        let mut tx = self.db().begin().await?;
        let freed = self.end(&mut tx, id, epoch, done).await?;
        let end = query("end a deployment", END).bind(id).bind(state.name()).bind(error).bind(now);
        tx.execute(end).await?;
        for outcome in outcomes {
            write_server(&mut tx, id, outcome).await?;
        }
        if state == DeploymentState::Succeeded {
            serve(&mut tx, id, now).await?;
        }
        failpoint!("store.finish.before");
        tx.commit().await?;
        failpoint!("store.finish.after");
        self.ended(id, freed);
        Ok(())
    }

    /// Digests of the blobs that open deployments need.
    pub async fn needed_blobs(&self) -> Result<HashSet<Digest>, Error> {
        const LIST: &str =
            "select blob from deployment where blob is not null and ended_at is null";
        let rows: Vec<(String,)> = self.db().all(query("list needed archives", LIST)).await?;
        rows.into_iter()
            .map(|(text,)| {
                text.parse().map_err(|_| Error::Corrupt { what: "digest of a blob", detail: text })
            })
            .collect()
    }
}

async fn write_server(tx: &mut Tx, id: OperationId, outcome: &ServerOutcome) -> Result<(), Error> {
    const SET: &str = "
        update deployment_server set state = $3, image_id = $4, urls = $5, error = $6
        where operation_id = $1 and server_id = $2
    ";
    let error = match &outcome.error {
        Some(error) => Some(json::encode("an error", error)?),
        None => None,
    };
    let set = query("note how a deployment stands on a server", SET)
        .bind(id)
        .bind(outcome.server_id)
        .bind(outcome.state.name())
        .bind(&outcome.image_id)
        .bind(json::encode("addresses", &outcome.urls)?)
        .bind(error);
    tx.execute(set).await.map(drop)
}

/// The deployment's release serves from now on, on the servers where it succeeded.
async fn serve(tx: &mut Tx, id: OperationId, now: At) -> Result<(), Error> {
    const APP: &str = "
        update app
        set release = (select release from deployment where operation_id = $1),
            deployed_at = $2, stopped = false
        where app_id = (select app_id from deployment where operation_id = $1)
    ";
    const RELEASE: &str = "
        update release
        set committed_at = $2, kept = true,
            image_id = coalesce((
                select max(image_id) from deployment_server
                where operation_id = $1 and state = 'succeeded'
            ), '')
        where operation_id = $1
    ";
    const SERVERS: &str = "
        insert into app_server (app_id, server_id, release, image_id, urls)
        select d.app_id, s.server_id, d.release, s.image_id, s.urls
        from deployment_server as s inner join deployment as d on s.operation_id = d.operation_id
        where s.operation_id = $1 and s.state = 'succeeded'
        on conflict (app_id, server_id) do update set
            release = excluded.release, image_id = excluded.image_id, urls = excluded.urls
    ";
    tx.execute(query("record what serves", APP).bind(id).bind(now)).await?;
    tx.execute(query("record what serves", RELEASE).bind(id).bind(now)).await?;
    tx.execute(query("record where it serves", SERVERS).bind(id)).await.map(drop)
}
