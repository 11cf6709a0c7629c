//! Releases, and going back to one: a deployment of that release's image on each server, with its
//! configuration, environment and secrets as they were.

use std::collections::HashSet;

use slipway_proto::{
    agent::v1::{self as agent, source::Kind as Source},
    control::v1::AppTarget,
    problem::{Kind, Problem},
};
use slipway_store::{Release, Server, User, UserId};

use super::{Apps, Found, WIDTH, link, reference};
use crate::{
    deploy::{BackTo, Order},
    fleet::fan_out,
    refused::refused,
};

/// A release, and how it stands.
#[derive(Debug)]
pub struct ReleaseView {
    /// The release.
    pub release: Release,
    /// Whether it serves now.
    pub serving: bool,
    /// Whether it can be rolled back to.
    pub kept: bool,
}

impl Apps {
    /// The app's releases that ever served, newest first.
    ///
    /// # Errors
    /// SW-APP-MISSING.
    pub async fn releases(
        &self,
        user: UserId,
        target: AppTarget,
    ) -> Result<Vec<ReleaseView>, Problem> {
        let found = self.find(user, &target).await?;
        let owner = self.deployments.store().of(user);
        let releases = owner.releases(found.app.id).await.map_err(refused)?;
        let kept = self.kept(&found).await;
        let view = |release: Release| ReleaseView {
            serving: release.number == found.app.release,
            kept: match &kept {
                Some(kept) => kept.contains(&release.number),
                None => release.kept,
            },
            release,
        };
        Ok(releases.into_iter().filter(|it| it.committed_at.is_some()).map(view).collect())
    }

    /// Starts a deployment of an earlier release, or with `check` only tells whether that could be
    /// done. Gives the deployment's id and the number of the release that it goes back to. Release 0
    /// is the one before the serving one.
    ///
    /// # Errors
    /// SW-RELEASE-MISSING, SW-RELEASE-GONE.
    pub async fn rollback(
        &self,
        user: &User,
        target: AppTarget,
        release: u64,
        check: Check,
    ) -> Result<(Option<String>, u64), Problem> {
        let found = self.find(user.id, &target).await?;
        let release = self.choose(user.id, &found, release).await?;
        if self.kept(&found).await.is_some_and(|it| !it.contains(&release.number)) {
            return Err(gone(release.number));
        }
        let number = u64::try_from(release.number).unwrap_or_default();
        if check == Check::Only {
            return Ok((None, number));
        }
        let mut spec = self.deployments.spec(user.id, release.deployment).await?;
        let image_id = release.image_id.clone();
        spec.source =
            Some(agent::Source { kind: Some(Source::Release(agent::ReleaseSource { image_id })) });
        let order = Order {
            spec,
            servers: found.servers.iter().map(|it| it.id.to_string()).collect(),
            idempotency_key: String::new(),
            back_to: Some(BackTo { release: release.number, deployment: release.deployment }),
        };
        let started = self.deployments.order(user, order).await?;
        Ok((Some(started.id.to_string()), number))
    }

    async fn choose(&self, user: UserId, found: &Found, number: u64) -> Result<Release, Problem> {
        let serving = found.app.release;
        let owner = self.deployments.store().of(user);
        let releases = owner.releases(found.app.id).await.map_err(refused)?;
        let mut served = releases.into_iter().filter(|it| it.committed_at.is_some());
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        let found = match number {
            0 => served.find(|it| it.number < serving),
            _ => served.find(|it| it.number == number),
        };
        let release = found.ok_or_else(|| none(number))?;
        if release.number == serving {
            let message = format!("release {serving} serves already");
            return Err(Problem::new(Kind::Conflict, "SW-RELEASE-SERVING", message));
        }
        if release.kept { Ok(release) } else { Err(gone(release.number)) }
    }

    /// Numbers of the releases that every server that answers has kept. None: no server answers.
    async fn kept(&self, found: &Found) -> Option<HashSet<i64>> {
        let reference = reference(&found.app);
        let ask = |server: Server| {
            let (agents, app) = (self.agents().clone(), Some(reference.clone()));
            async move {
                let link = link(&agents, &server).await?;
                link.app(agent::GetAppRequest { app }).await
            }
        };
        let answers = fan_out(found.servers.clone(), WIDTH, ask).await;
        let kept = answers.into_iter().flatten().filter_map(|answer| {
            let releases = answer.ok()?.app?.releases;
            Some(releases.iter().filter_map(|it| i64::try_from(it.release).ok()).collect())
        });
        kept.reduce(|a: HashSet<i64>, b| a.intersection(&b).copied().collect())
    }
}

/// Whether something is only to be checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Check {
    /// Only that.
    Only,
    /// Do it.
    AndDo,
}

fn none(number: i64) -> Problem {
    if number == 0 {
        let message = "there is no release before the serving one";
        return Problem::new(Kind::Conflict, "SW-RELEASE-MISSING", message);
    }
    let message = format!("there is no release {number} that ever served");
    Problem::new(Kind::NotFound, "SW-RELEASE-MISSING", message)
        .hint("list them with `slipway releases`")
}

fn gone(number: i64) -> Problem {
    let message = format!("the image of release {number} is not kept any more");
    Problem::new(Kind::Conflict, "SW-RELEASE-GONE", message)
        .hint("deploy it again from its source; `slipway releases` tells which are kept")
}
