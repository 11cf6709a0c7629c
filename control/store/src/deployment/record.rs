//! Recording deployments, and reading them, as their owners.

use slipway_host::failpoint;

use super::{COLUMNS, Deployment, DeploymentServer, FROM, NewDeployment, SourceKind};
use crate::{
    audit::Entry,
    db::{Query, Tx, query},
    error::{Error, What},
    event::Appender,
    hub::Topic,
    id::{AppId, At, OperationId, ServerId},
    json,
    operation::{Operation, Recorded},
    store::{Claimant, Owner},
};

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
