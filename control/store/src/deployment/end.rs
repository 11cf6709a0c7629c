//! A deployment at work, and its end: every write is its worker's.

use std::collections::HashSet;

use slipway_host::failpoint;

use super::{COLUMNS, Deployment, DeploymentServer, DeploymentState, FROM, ServerOutcome};
use crate::{
    blob::Digest,
    db::{Query, Tx, query},
    error::{Error, What},
    event::{Done, Failure},
    id::{At, OperationId},
    json,
    store::{Epoch, System},
};

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
