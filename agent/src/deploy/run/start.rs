//! Image to healthy containers, beside the running release.

use std::{net::Ipv4Addr, time::Duration};

use slipway_engine::{
    Engine as _,
    container::{Container, ContainerSpec, Limits, Mount, Restart, Status},
    label,
    network::{Attachment, NetworkSpec, Subnet},
    volume::Volume,
};
use slipway_host::{Secret, failpoint};
use slipway_proto::{
    problem::{Kind, Problem},
    spec::{AppSpec, Health},
};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{
    super::{
        Error,
        deployment::Deployment,
        event::{Event, Failure, Phase, plain},
        plan::{self, Seen, Standing, Step},
        record::{Image, Mark, Placed},
    },
    acquire::Acquired,
    engine_failed, failed,
};
use crate::world::{Outside, Probe as _, World};

/// Lines of a failed container that its failure carries.
const LAST_LINES: u32 = 200;
/// Longest of these lines, in characters.
const LAST_LINE: usize = 4_096;
/// How long a container without an HTTP check must have stayed up.
const SETTLED: Duration = Duration::from_secs(1);

/// Containers that run; whether they are healthy is not known yet.
#[must_use = "nothing routes to them yet"]
#[derive(Debug)]
pub(super) struct Started {
    image: Image,
    containers: Vec<Placed>,
}

/// Containers that answered. Only [`Started::healthy`] makes one, so holding it is the proof.
#[must_use = "nothing routes to them yet"]
#[derive(Debug)]
pub(super) struct Healthy(Started);

/// Starts the containers of the release.
pub(super) async fn run<O: Outside>(
    world: &World<O>,
    deployment: &Deployment,
    Acquired(image): Acquired,
) -> Result<Started, Failure> {
    let phase = Phase::Start;
    let begun = deployment.recorder.begin(phase).await;
    network(world, deployment).await?;
    volumes(world, deployment).await?;
    let release = deployment.opened.release;
    let name = |n| world.names.container(deployment.key(), &deployment.spec.service, release, n);
    let wanted: Vec<(u16, String)> = (1..=deployment.spec.replicas).map(|n| (n, name(n))).collect();
    let names: Vec<String> = wanted.iter().map(|(_, name)| name.clone()).collect();
    let standing = standing(world, deployment).await.map_err(engine_failed(phase))?;
    let mut containers = Vec::new();
    for step in plan::start(&names, &deployment.id().to_string(), &standing) {
        match step {
            Step::Remove(name) => {
                let remove = || world.engine().remove(&name);
                world.patiently(remove).await.map_err(engine_failed(phase))?;
            }
            Step::Make(name) => {
                let n = wanted.iter().find(|it| it.1 == name).map_or(1, |it| it.0);
                containers.push(make(world, deployment, &image, n, &name).await?);
            }
            _ => (),
        }
    }
    deployment.recorder.done(begun).await;
    Ok(Started { image, containers })
}

async fn standing<O: Outside>(
    world: &World<O>,
    deployment: &Deployment,
) -> slipway_engine::Result<Standing> {
    let kept = world.apps.get(deployment.key()).map_or_else(Default::default, |record| {
        let releases = record.serving.into_iter().chain(record.previous);
        releases.flat_map(|it| it.containers).map(|it| it.name).collect()
    });
    Ok(Standing { containers: seen(world, deployment).await?, kept })
}

/// The containers of the app that exist.
pub(super) async fn seen<O: Outside>(
    world: &World<O>,
    deployment: &Deployment,
) -> slipway_engine::Result<Vec<Seen>> {
    let filter = world.names.of(deployment.key());
    let all = world.patiently(|| world.engine().containers(&filter)).await?;
    let seen = all.into_iter().map(|it| Seen {
        deploy_id: it.labels.get(label::DEPLOY).cloned().unwrap_or_default(),
        running: !matches!(it.status, Status::Created | Status::Exited | Status::Dead),
        name: it.name,
    });
    Ok(seen.collect())
}

async fn network<O: Outside>(world: &World<O>, deployment: &Deployment) -> Result<(), Failure> {
    let (phase, key) = (Phase::Start, deployment.key());
    let name = world.names.network(key);
    let mut taken: Vec<Subnet> = Vec::new();
    loop {
        let all =
            world.patiently(|| world.engine().networks()).await.map_err(engine_failed(phase))?;
        let others = all.iter().filter(|it| it.name != name).flat_map(|it| it.subnets.clone());
        let avoid = others.chain(taken.iter().copied()).collect();
        let subnet = world.addresses.subnet(key, avoid).await.map_err(failed(phase))?;
        let labels = world.names.app_labels(key);
        let spec = NetworkSpec { name: name.clone(), subnet, labels };
        failpoint!("agent.deploy.network.before");
        let made = world.patiently(|| world.engine().ensure_network(&spec)).await;
        failpoint!("agent.deploy.network.after");
        match made {
            // The host itself may use these addresses, which Docker alone knows.
            Err(slipway_engine::Error::AddressTaken { .. }) if taken.len() < 64 => {
                world.addresses.forget(key).await.map_err(failed(phase))?;
                taken.push(subnet);
            }
            other => return other.map(drop).map_err(engine_failed(phase)),
        }
    }
}

async fn volumes<O: Outside>(world: &World<O>, deployment: &Deployment) -> Result<(), Failure> {
    for volume in &deployment.spec.volumes {
        let key = deployment.key();
        let volume = Volume {
            name: world.names.volume(key, &volume.name),
            labels: world.names.app_labels(key),
        };
        failpoint!("agent.deploy.volume.before");
        let made = world.patiently(|| world.engine().ensure_volume(&volume)).await;
        failpoint!("agent.deploy.volume.after");
        made.map_err(engine_failed(Phase::Start))?;
    }
    Ok(())
}

/// Makes and starts one container, at an address that nobody else has.
async fn make<O: Outside>(
    world: &World<O>,
    deployment: &Deployment,
    image: &Image,
    n: u16,
    name: &str,
) -> Result<Placed, Failure> {
    let phase = Phase::Start;
    let mut taken: Vec<Ipv4Addr> = Vec::new();
    loop {
        let address = world.addresses.address(deployment.key(), name, taken.clone());
        let address = address.await.map_err(failed(phase))?;
        let making = Making {
            spec: &deployment.spec,
            release: deployment.opened.release,
            deploy_id: deployment.id(),
            image,
        };
        let spec = making.container(world, (n, name, address)).map_err(engine_failed(phase))?;
        match bring_up(world, &spec).await {
            Ok(id) => return Ok(Placed { name: name.to_owned(), id, address }),
            Err(slipway_engine::Error::AddressTaken { .. }) if taken.len() < 4 => {
                taken.push(address);
            }
            // Made by an earlier attempt, when something was different.
            Err(slipway_engine::Error::Taken { .. }) if taken.is_empty() => (),
            Err(error) => return Err(post_mortem(world, name, engine_failed(phase)(error)).await),
        }
        let removed = world.patiently(|| world.engine().remove(name)).await;
        removed.map_err(engine_failed(phase))?;
        if taken.is_empty() {
            let id = bring_up(world, &spec).await.map_err(engine_failed(phase))?;
            return Ok(Placed { name: name.to_owned(), id, address });
        }
    }
}

/// Makes a container, or finds it, and starts it.
pub(crate) async fn bring_up<O: Outside>(
    world: &World<O>,
    spec: &ContainerSpec,
) -> slipway_engine::Result<String> {
    failpoint!("agent.deploy.create.before");
    let id = world.patiently(|| world.engine().create(spec)).await?;
    failpoint!("agent.deploy.create.after");
    failpoint!("agent.deploy.start.before");
    world.patiently(|| world.engine().start(&spec.name)).await?;
    failpoint!("agent.deploy.start.after");
    Ok(id)
}

/// From now on Docker starts the container again whenever it ends, and after a reboot.
pub(crate) async fn keep_up<O: Outside>(
    world: &World<O>,
    name: &str,
) -> slipway_engine::Result<()> {
    failpoint!("agent.deploy.keep-up.before");
    world.patiently(|| world.engine().set_restart(name, Restart::UnlessStopped)).await?;
    failpoint!("agent.deploy.keep-up.after");
    Ok(())
}

/// What a release's containers are made of.
pub(crate) struct Making<'a> {
    pub(crate) spec: &'a AppSpec,
    pub(crate) release: u64,
    pub(crate) deploy_id: Uuid,
    pub(crate) image: &'a Image,
}

impl Making<'_> {
    /// The `n`-th container.
    pub(crate) fn container<O: Outside>(
        &self,
        world: &World<O>,
        (n, name, address): (u16, &str, Ipv4Addr),
    ) -> slipway_engine::Result<ContainerSpec> {
        let Self { spec, release, deploy_id, image } = *self;
        let key = &spec.key;
        let mut labels = world.names.labels(key, release, deploy_id);
        labels.insert(label::SERVICE.to_owned(), spec.service.to_string());
        labels.insert(label::REPLICA.to_owned(), n.to_string());
        let plain = spec.env.iter().map(|(name, value)| (name.to_string(), value.clone()));
        let hidden =
            spec.secrets.iter().map(|(name, value)| (name.to_string(), value.expose().to_owned()));
        let port = ("PORT".to_owned(), image.port.to_string());
        let env = [port].into_iter().chain(plain).chain(hidden);
        let defaults = world.settings.limits;
        Ok(ContainerSpec {
            name: name.to_owned(),
            image: image.id.parse()?,
            command: spec.command.clone(),
            env: env.map(|(name, value)| (name, Secret::new(value))).collect(),
            labels,
            network: Attachment {
                network: world.names.network(key),
                address,
                aliases: vec![spec.service.to_string()],
            },
            mounts: spec
                .volumes
                .iter()
                .map(|it| Mount {
                    volume: world.names.volume(key, &it.name),
                    path: it.path.to_string(),
                })
                .collect(),
            limits: Limits {
                memory_bytes: spec.resources.memory_bytes.unwrap_or(defaults.memory_bytes),
                cpu_millis: spec.resources.cpu_millis.or(defaults.cpu_millis),
                pids: spec.resources.pids.unwrap_or(defaults.pids),
            },
            // Until it was healthy once: so it is seen how it ended, and not that it was started again.
            restart: Restart::Never,
            stop_grace: spec.stop_grace,
        })
    }
}

impl Started {
    /// Waits until every container answers. On failure says what its container last said.
    pub(super) async fn healthy<O: Outside>(
        self,
        world: &World<O>,
        deployment: &Deployment,
    ) -> Result<Healthy, Failure> {
        let begun = deployment.recorder.begin(Phase::Health).await;
        let deadline = Instant::now() + deployment.spec.health.timeout;
        for placed in &self.containers {
            let check = Check {
                health: &deployment.spec.health,
                port: self.image.port,
                deadline,
                age: Age::New,
            };
            if let Err(problem) = check.passes(world, placed).await {
                let failure = Failure::new(problem, Phase::Health);
                return Err(post_mortem(world, &placed.name, failure).await);
            }
        }
        for placed in &self.containers {
            keep_up(world, &placed.name).await.map_err(engine_failed(Phase::Health))?;
        }
        deployment.recorder.done(begun).await;
        Ok(Healthy(self))
    }
}

impl Healthy {
    /// Records that the release is ready.
    pub(super) async fn record(self, deployment: &Deployment) -> Result<(), Error> {
        let Self(Started { image, containers }) = self;
        let event = Event::Prepared {
            image_id: image.id,
            git_commit: image.git_commit,
            image_digest: image.digest,
            containers: containers.iter().map(|it| it.name.clone()).collect(),
        };
        failpoint!("agent.deploy.prepared.before");
        deployment.announce(event, Mark::Prepared(containers)).await?;
        failpoint!("agent.deploy.prepared.after");
        Ok(())
    }
}

/// When a container counts as healthy.
#[derive(Debug)]
pub(crate) struct Check<'a> {
    pub(crate) health: &'a Health,
    pub(crate) port: u16,
    pub(crate) deadline: Instant,
    pub(crate) age: Age,
}

/// Whether a container is to show that it can live.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Age {
    /// It is: once down, it has failed.
    New,
    /// It did, and may have been started again since.
    Old,
}

impl Check<'_> {
    /// Waits until a container answers.
    pub(crate) async fn passes<O: Outside>(
        &self,
        world: &World<O>,
        placed: &Placed,
    ) -> Result<(), Problem> {
        let mut last = "it has not answered yet".to_owned();
        let started = Instant::now();
        loop {
            let inspected = world.patiently(|| world.engine().inspect(&placed.name)).await?;
            if self.age == Age::New {
                still_up(placed, &inspected)?;
            }
            match self.ask(world, placed).await {
                Ok(()) if self.health.path.is_some() || SETTLED <= started.elapsed() => {
                    return Ok(());
                }
                Ok(()) => (),
                Err(reason) => last = reason,
            }
            if self.deadline <= Instant::now() {
                let limit = self.health.timeout;
                let message = format!("`{}` was not healthy after {limit:?}: {last}", placed.name);
                let hint = match &self.health.path {
                    Some(_) => {
                        "check the health path, and that the app listens on `$PORT` and 0.0.0.0"
                    }
                    None => "check that the app listens on `$PORT` and on 0.0.0.0, not 127.0.0.1",
                };
                return Err(Problem::new(Kind::Timeout, "SW-HEALTH-TIMEOUT", message).hint(hint));
            }
            sleep(self.health.interval).await;
        }
    }

    async fn ask<O: Outside>(&self, world: &World<O>, placed: &Placed) -> Result<(), String> {
        let target = (placed.address, self.port).into();
        let left = self.deadline.saturating_duration_since(Instant::now());
        let limit = left.clamp(Duration::from_millis(100), Duration::from_secs(5));
        let port = self.port;
        match &self.health.path {
            Some(path) => match world.probe().http(target, path, limit).await {
                Ok(200..=399) => Ok(()),
                Ok(status) => Err(format!("`{path}` answered {status}")),
                Err(error) => Err(format!("`{path}` on port {port}: {}", error.kind())),
            },
            None => match world.probe().connect(target, limit).await {
                Ok(()) => Ok(()),
                Err(error) => Err(format!("port {port}: {}", error.kind())),
            },
        }
    }
}

/// A container that ended, even if Docker starts it again, is not healthy.
fn still_up(placed: &Placed, it: &Container) -> Result<(), Problem> {
    if it.oom_killed {
        let message = format!("`{}` ran out of memory", placed.name);
        return Err(
            Problem::new(Kind::Conflict, "SW-HEALTH-MEMORY", message).hint("give it more memory")
        );
    }
    if it.running() && it.restart_count == 0 {
        return Ok(());
    }
    let message = match (&it.error, it.exit_code) {
        (Some(error), _) => format!("`{}` could not run: {error}", placed.name),
        (None, Some(code)) => format!("`{}` ended with exit code {code}", placed.name),
        (None, None) => format!("`{}` did not stay up ({})", placed.name, it.status),
    };
    Err(Problem::new(Kind::Conflict, "SW-HEALTH-EXITED", message).hint("its last lines say why"))
}

/// Adds what can still be learned of a container before it is removed.
async fn post_mortem<O: Outside>(world: &World<O>, name: &str, mut failure: Failure) -> Failure {
    if let Ok(container) = world.engine().inspect(name).await {
        failure.exit_code = container.exit_code;
        // Otherwise it would go on writing, or be started again, while it is looked at.
        if container.restart_count > 0 || !container.running() {
            drop(world.engine().stop(name, Duration::ZERO).await);
        }
    }
    if let Ok(lines) = world.engine().last_lines(name, LAST_LINES).await {
        let text = |it: &slipway_engine::logs::LogLine| {
            plain(&it.text()).chars().take(LAST_LINE).collect::<String>()
        };
        failure.last_lines = lines.iter().map(text).collect();
    }
    failure
}
