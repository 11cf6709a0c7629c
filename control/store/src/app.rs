//! Apps, their releases, where they run, and who may change them now.

use crate::{
    audit::Entry,
    db::{Query, Tx, query},
    deployment::{DeploymentState, SourceKind},
    error::{Error, What},
    hub::{Changes, Topic},
    id::{AppId, At, OperationId, ServerId, UserId},
    json::JsonText,
    store::{Epoch, Owner, System},
};

/// An app in one environment.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct App {
    /// Its id.
    #[sqlx(rename = "app_id")]
    pub id: AppId,
    /// Whose it is.
    #[sqlx(rename = "user_id")]
    pub user: UserId,
    /// Its name.
    pub name: String,
    /// Its environment.
    pub environment: String,
    /// Its tags.
    pub tags: JsonText<Vec<String>>,
    /// Whether it was stopped on request.
    pub stopped: bool,
    /// Number of the release that serves; 0: none yet.
    pub release: i64,
    /// When its serving release was committed.
    pub deployed_at: Option<At>,
    /// When it was first deployed.
    pub created_at: At,
}

/// An app on a server.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct AppServer {
    /// The app.
    pub app_id: AppId,
    /// The server.
    pub server_id: ServerId,
    /// Its name.
    pub name: String,
    /// Release that serves there.
    pub release: i64,
    /// Image that it runs.
    pub image_id: String,
    /// Where it answers.
    pub urls: JsonText<Vec<String>>,
}

/// An app with where it runs and how its newest deployment stands.
#[derive(Clone, Debug)]
pub struct AppOverview {
    /// The app.
    pub app: App,
    /// Its servers, by name.
    pub servers: Vec<AppServer>,
    /// State of its newest deployment.
    pub last_deployment: Option<DeploymentState>,
}

/// A release: an immutable version of an app.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Release {
    /// The app.
    pub app_id: AppId,
    /// Its number.
    pub number: i64,
    /// Deployment that made it. Its secrets are sealed under [`Release::record`] of this.
    #[sqlx(rename = "operation_id")]
    pub deployment: OperationId,
    /// The specification as JSON, without secrets.
    pub spec: String,
    /// Where it came from.
    pub source: SourceKind,
    /// The same, for people.
    pub source_detail: String,
    /// Image id.
    pub image_id: String,
    /// Whether its image is still somewhere to roll back to.
    pub kept: bool,
    /// When it was made.
    pub created_at: At,
    /// When it first served; none: never.
    pub committed_at: Option<At>,
}

impl Release {
    /// Where the secrets of a release are sealed.
    pub fn record(deployment: OperationId) -> String {
        format!("release|secrets|{deployment}")
    }
}

/// Whether an operation got an app's lock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AppLock {
    /// It has it, until it ends.
    Held,
    /// Another one has it.
    HeldBy(OperationId),
}

const COLUMNS: &str =
    "app_id, user_id, name, environment, tags, stopped, release, deployed_at, created_at";

const RELEASE_COLUMNS: &str = "app_id, number, operation_id, spec, source, source_detail, \
    image_id, kept, created_at, committed_at";

impl Owner {
    /// The user's apps, ordered by name, with where they run.
    pub async fn apps(&self) -> Result<Vec<AppOverview>, Error> {
        const SERVERS: &str = "
            select p.app_id, p.server_id, s.name, p.release, p.image_id, p.urls
            from app_server as p
            inner join app as a on p.app_id = a.app_id
            inner join server as s on p.server_id = s.server_id
            where a.user_id = $1 order by s.name
        ";
        const STATES: &str = "
            select d.app_id, d.state from deployment as d
            where d.user_id = $1 and d.operation_id = (
                select max(n.operation_id) from deployment as n where n.app_id = d.app_id
            )
        ";
        let text = format!(
            "select {COLUMNS} from app where user_id = $1 and removed_at is null
            order by name, environment"
        );
        let apps: Vec<App> = self.db().all(Query::built("list apps", text).bind(self.user)).await?;
        let servers: Vec<AppServer> =
            self.db().all(query("list where apps run", SERVERS).bind(self.user)).await?;
        let states: Vec<(AppId, DeploymentState)> =
            self.db().all(query("list newest deployments", STATES).bind(self.user)).await?;
        let overview = |app: App| AppOverview {
            servers: servers.iter().filter(|it| it.app_id == app.id).cloned().collect(),
            last_deployment: states.iter().find(|(id, _)| *id == app.id).map(|(_, it)| *it),
            app,
        };
        Ok(apps.into_iter().map(overview).collect())
    }

    /// One of the user's apps.
    pub async fn app(&self, name: &str, environment: &str) -> Result<App, Error> {
        let text = format!(
            "select {COLUMNS} from app
            where user_id = $1 and name = $2 and environment = $3 and removed_at is null"
        );
        let read = Query::built("read an app", text).bind(self.user).bind(name).bind(environment);
        self.db().optional(read).await?.ok_or(Error::Missing { what: What::App })
    }

    /// Where one of the user's apps runs, by name of the server.
    pub async fn app_servers(&self, app: AppId) -> Result<Vec<AppServer>, Error> {
        const LIST: &str = "
            select p.app_id, p.server_id, s.name, p.release, p.image_id, p.urls
            from app_server as p
            inner join app as a on p.app_id = a.app_id
            inner join server as s on p.server_id = s.server_id
            where p.app_id = $1 and a.user_id = $2 order by s.name
        ";
        self.db().all(query("list where an app runs", LIST).bind(app).bind(self.user)).await
    }

    /// Releases of one of the user's apps, newest first.
    pub async fn releases(&self, app: AppId) -> Result<Vec<Release>, Error> {
        let text = format!(
            "select {RELEASE_COLUMNS} from release
            where app_id = $1 and exists (
                select 1 from app where app_id = $1 and user_id = $2
            ) order by number desc"
        );
        self.db().all(Query::built("list releases", text).bind(app).bind(self.user)).await
    }

    /// One release.
    pub async fn release(&self, app: AppId, number: i64) -> Result<Release, Error> {
        let text = format!(
            "select {RELEASE_COLUMNS} from release
            where app_id = $1 and number = $3 and exists (
                select 1 from app where app_id = $1 and user_id = $2
            )"
        );
        let read = Query::built("read a release", text).bind(app).bind(self.user).bind(number);
        self.db().optional(read).await?.ok_or(Error::Missing { what: What::Release })
    }

    /// Notes that an app was stopped or started on request.
    pub async fn set_stopped(
        &self,
        app: AppId,
        stopped: Stopped,
        audit: Entry,
    ) -> Result<(), Error> {
        const SET: &str =
            "update app set stopped = $3 where app_id = $1 and user_id = $2 and removed_at is null";
        let mut tx = self.db().begin().await?;
        let set = query("note that an app was stopped", SET)
            .bind(app)
            .bind(self.user)
            .bind(stopped == Stopped::Yes);
        if tx.execute(set).await? == 0 {
            return Err(Error::Missing { what: What::App });
        }
        audit.append(&mut tx, self.store.now()).await?;
        tx.commit().await
    }

    /// Notes that an app is gone from a server.
    pub async fn remove_app_server(&self, app: AppId, server: ServerId) -> Result<(), Error> {
        const DELETE: &str = "
            delete from app_server where app_id = $1 and server_id = $2
            and exists (select 1 from app where app_id = $1 and user_id = $3)
        ";
        let delete =
            query("forget where an app ran", DELETE).bind(app).bind(server).bind(self.user);
        self.db().execute(delete).await.map(drop)
    }

    /// Removes an app that runs nowhere any more, with the secrets of its releases. Its
    /// deployments stay readable.
    pub async fn remove_app(&self, app: AppId, audit: Entry) -> Result<(), Error> {
        const RUNS: &str = "
            select s.name from app_server as p inner join server as s on p.server_id = s.server_id
            where p.app_id = $1 order by s.name
        ";
        const REMOVE: &str = "
            update app set removed_at = $3
            where app_id = $1 and user_id = $2 and removed_at is null
        ";
        const UNSEAL: &str = "
            delete from sealed where user_id = $2 and record in (
                select 'release|secrets|' || operation_id from release where app_id = $1
            )
        ";
        let mut tx = self.db().begin().await?;
        let remove =
            query("remove an app", REMOVE).bind(app).bind(self.user).bind(self.store.now());
        if tx.execute(remove).await? == 0 {
            return Err(Error::Missing { what: What::App });
        }
        let runs: Vec<(String,)> = tx.all(query("list where an app runs", RUNS).bind(app)).await?;
        if !runs.is_empty() {
            let users = runs.into_iter().map(|(it,)| it).collect::<Vec<_>>().join(", ");
            return Err(Error::InUse { what: What::App, users });
        }
        tx.execute(query("remove an app's secrets", UNSEAL).bind(app).bind(self.user)).await?;
        audit.append(&mut tx, self.store.now()).await?;
        tx.commit().await
    }

    /// Finds the app or makes it, and gives out its next release number.
    pub(crate) async fn next_release(
        &self,
        tx: &mut Tx,
        name: &str,
        environment: &str,
        tags: String,
    ) -> Result<(AppId, i64), Error> {
        const NEXT: &str = "
            update app set last_release = last_release + 1, tags = $4
            where user_id = $1 and name = $2 and environment = $3 and removed_at is null
            returning app_id, last_release
        ";
        const INSERT: &str = "
            insert into app
                (app_id, user_id, name, environment, tags, stopped, release, last_release,
                created_at)
            values ($1, $2, $3, $4, $5, false, 0, 1, $6)
        ";
        let next = query("number a release", NEXT)
            .bind(self.user)
            .bind(name)
            .bind(environment)
            .bind(&tags);
        if let Some(found) = tx.optional(next).await? {
            return Ok(found);
        }
        let id = AppId::new();
        let insert = query("record an app", INSERT)
            .bind(id)
            .bind(self.user)
            .bind(name)
            .bind(environment)
            .bind(tags)
            .bind(self.store.now());
        tx.execute(insert).await.map_err(|it| it.or_exists(What::App, name))?;
        Ok((id, 1))
    }
}

/// Whether an app is stopped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stopped {
    /// It is.
    Yes,
    /// It is not.
    No,
}

impl System {
    /// Anybody's app.
    pub async fn app(&self, id: AppId) -> Result<App, Error> {
        let text = format!("select {COLUMNS} from app where app_id = $1");
        let read = Query::built("read an app", text).bind(id);
        self.db().optional(read).await?.ok_or(Error::Missing { what: What::App })
    }

    /// Takes the lock of an app for an operation, which holds it until it ends. Success again when
    /// it has it already.
    pub async fn lock_app(
        &self,
        operation: OperationId,
        epoch: Epoch,
        app: AppId,
    ) -> Result<AppLock, Error> {
        const LOCK: &str = "
            insert into app_lock (app_id, operation_id, at) values ($1, $2, $3)
            on conflict (app_id) do nothing
        ";
        const HOLDER: &str = "select operation_id from app_lock where app_id = $1";
        let mut tx = self.db().begin().await?;
        self.store.fence(&mut tx, operation, epoch).await?;
        let lock = query("lock an app", LOCK).bind(app).bind(operation).bind(self.now());
        tx.execute(lock).await?;
        let holder: Option<(OperationId,)> =
            tx.optional(query("read an app's lock", HOLDER).bind(app)).await?;
        tx.commit().await?;
        // None: the holder ended between the two statements; watch and try again.
        let (holder,) = holder.unwrap_or((operation,));
        Ok(if holder == operation { AppLock::Held } else { AppLock::HeldBy(holder) })
    }

    /// Wakes when an app's lock may have been given back.
    pub fn watch_app(&self, app: AppId) -> Changes {
        self.store.hub().watch(Topic::App(app))
    }

    /// Notes that a release's image is nowhere any more.
    pub async fn forget_release_image(&self, app: AppId, number: i64) -> Result<(), Error> {
        const FORGET: &str = "update release set kept = false where app_id = $1 and number = $2";
        self.db()
            .execute(query("forget a release's image", FORGET).bind(app).bind(number))
            .await
            .map(drop)
    }
}
