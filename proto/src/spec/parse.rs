//! From the wire's message to the checked specification.

use std::{collections::BTreeMap, time::Duration};

use super::{AppSpec, Health, Resources, Source, Volume};
use crate::{
    agent::v1 as wire,
    problem::Problem,
    value::{
        AppKey, ContainerPath, Domain, EnvName, HealthPath, Hidden, Name, Port, ServiceName,
        check_env,
    },
};

const MAX_REPLICAS: u32 = 20;
const MAX_TAGS: usize = 20;
const MAX_DOMAINS: usize = 50;
const MAX_VOLUMES: usize = 20;
const MIN_MEMORY: u64 = 6 << 20;
const MAX_MEMORY: u64 = 1 << 40;
const MIN_CPU: u32 = 10;
const MAX_CPU: u32 = 512_000;
const MAX_PIDS: u32 = 1 << 20;

impl TryFrom<wire::AppSpec> for AppSpec {
    type Error = Problem;

    fn try_from(wire: wire::AppSpec) -> Result<Self, Problem> {
        let wire::AppSpec {
            app,
            service,
            environment,
            source,
            port,
            env,
            secrets,
            tags,
            health,
            resources,
            domains,
            volumes,
            replicas,
            command,
            drain_timeout,
            stop_grace,
        } = wire;
        let service = if service.is_empty() { "web".to_owned() } else { service };
        let mut env = names(env)?;
        let secrets: BTreeMap<_, Hidden> = names(secrets)?;
        both_checked(&env, &secrets)?;
        let port = port_of(port, &mut env)?;
        Ok(Self {
            key: AppKey::new(&app, &environment)?,
            service: ServiceName::parse(&service)?,
            source: Source::try_from(source)?,
            port,
            env,
            secrets,
            tags: checked_tags(tags)?,
            health: Health::try_from(health.unwrap_or_default())?,
            resources: Resources::try_from(resources.unwrap_or_default())?,
            domains: checked_domains(&domains)?,
            volumes: checked_volumes(volumes)?,
            replicas: checked_replicas(replicas)?,
            command: checked_command(command)?,
            drain_timeout: duration("drain_timeout", drain_timeout, 30, 0..=600_000)?,
            stop_grace: duration("stop_grace", stop_grace, 10, 0..=600_000)?,
        })
    }
}

fn names<T: From<String>>(
    map: std::collections::HashMap<String, String>,
) -> Result<BTreeMap<EnvName, T>, Problem> {
    map.into_iter().map(|(name, value)| Ok((EnvName::parse(&name)?, value.into()))).collect()
}

fn both_checked(
    env: &BTreeMap<EnvName, String>,
    secrets: &BTreeMap<EnvName, Hidden>,
) -> Result<(), Problem> {
    if let Some(name) = secrets.keys().find(|it| env.contains_key(it)) {
        let message = format!("`{name}` is both a variable and a secret");
        return Err(Problem::invalid("SW-ENV-TWICE", "secrets", message).hint("keep one of them"));
    }
    let plain = env.iter().map(|(name, value)| (name, value.as_str()));
    check_env(plain.chain(secrets.iter().map(|(name, value)| (name, value.expose()))))
}

/// The port, which may also be given as the variable `PORT`; the container gets that variable anyway.
fn port_of(port: u32, env: &mut BTreeMap<EnvName, String>) -> Result<Option<Port>, Problem> {
    let given = if port == 0 { None } else { Some(Port::try_from(port)?) };
    let Some(text) = env.remove(&EnvName::parse("PORT")?) else { return Ok(given) };
    let variable: Port = text.parse()?;
    match given {
        Some(given) if given != variable => {
            let message = format!("the port is {given}, but the variable `PORT` says {variable}");
            Err(Problem::invalid("SW-PORT", "port", message).hint("give one of them"))
        }
        _ => Ok(Some(variable)),
    }
}

fn checked_tags(tags: Vec<String>) -> Result<Vec<String>, Problem> {
    let allowed = |it: char| it.is_ascii_alphanumeric() || "_-.:=/".contains(it);
    let good = |it: &String| (1..=64).contains(&it.len()) && it.chars().all(allowed);
    if tags.len() > MAX_TAGS || !tags.iter().all(good) {
        let message = "a tag must be 1 to 64 of letters, digits and `_-.:=/`, and 20 at most";
        return Err(Problem::invalid("SW-TAG", "tags", message));
    }
    Ok(tags)
}

fn checked_domains(domains: &[String]) -> Result<Vec<Domain>, Problem> {
    if domains.len() > MAX_DOMAINS {
        let message = format!("{} domains are more than {MAX_DOMAINS}", domains.len());
        return Err(Problem::invalid("SW-DOMAIN-COUNT", "domains", message));
    }
    let mut out = Vec::with_capacity(domains.len());
    for domain in domains {
        let domain = Domain::parse(domain)?;
        if !out.contains(&domain) {
            out.push(domain);
        }
    }
    Ok(out)
}

fn checked_volumes(volumes: Vec<wire::Volume>) -> Result<Vec<Volume>, Problem> {
    if volumes.len() > MAX_VOLUMES {
        let message = format!("{} volumes are more than {MAX_VOLUMES}", volumes.len());
        return Err(Problem::invalid("SW-VOLUME", "volumes", message));
    }
    let mut out: Vec<Volume> = Vec::with_capacity(volumes.len());
    for wire::Volume { name, path } in volumes {
        let volume =
            Volume { name: Name::of("volumes", &name)?, path: ContainerPath::parse(&path)? };
        if out.iter().any(|it| it.name == volume.name || it.path == volume.path) {
            let message = format!("`{}` or its path is given twice", volume.name);
            return Err(Problem::invalid("SW-VOLUME", "volumes", message));
        }
        out.push(volume);
    }
    Ok(out)
}

fn checked_replicas(replicas: u32) -> Result<u16, Problem> {
    let replicas = if replicas == 0 { 1 } else { replicas };
    u16::try_from(replicas).ok().filter(|_| replicas <= MAX_REPLICAS).ok_or_else(|| {
        let message = format!("{replicas} replicas are more than {MAX_REPLICAS} on one server");
        Problem::invalid("SW-REPLICAS", "replicas", message)
    })
}

fn checked_command(command: Vec<String>) -> Result<Vec<String>, Problem> {
    if command.len() > 100 || command.iter().any(|it| it.len() > 4_096 || it.contains('\0')) {
        let message = "a command has at most 100 words of at most 4 KiB, without NUL";
        return Err(Problem::invalid("SW-COMMAND", "command", message));
    }
    Ok(command)
}

impl TryFrom<wire::HealthCheck> for Health {
    type Error = Problem;

    fn try_from(wire: wire::HealthCheck) -> Result<Self, Problem> {
        let wire::HealthCheck { path, interval, timeout } = wire;
        let path = if path.is_empty() { None } else { Some(HealthPath::parse(&path)?) };
        let interval = match interval {
            None => Duration::from_millis(500),
            given => duration("health_interval", given, 0, 100..=60_000)?,
        };
        Ok(Self {
            path,
            interval,
            timeout: duration("health_timeout", timeout, 60, 1_000..=1_800_000)?,
        })
    }
}

impl TryFrom<wire::Resources> for Resources {
    type Error = Problem;

    fn try_from(wire: wire::Resources) -> Result<Self, Problem> {
        let wire::Resources { memory_bytes, cpu_millis, pids } = wire;
        let given = |it: u32| (it != 0).then_some(it);
        if memory_bytes != 0 && !(MIN_MEMORY..=MAX_MEMORY).contains(&memory_bytes) {
            let message = format!("{memory_bytes} B of memory are not between 6 MiB and 1 TiB");
            return Err(Problem::invalid("SW-MEMORY", "memory", message)
                .hint("use a size such as `256m` or `1g`"));
        }
        if cpu_millis != 0 && !(MIN_CPU..=MAX_CPU).contains(&cpu_millis) {
            let message =
                format!("{cpu_millis} thousandths of a CPU are not between 10 and 512,000");
            return Err(Problem::invalid("SW-CPUS", "cpus", message)
                .hint("use a number such as `0.5` or `2`"));
        }
        if pids > MAX_PIDS {
            let message = format!("{pids} processes are more than {MAX_PIDS}");
            return Err(Problem::invalid("SW-PIDS", "pids", message));
        }
        Ok(Self {
            memory_bytes: (memory_bytes != 0).then_some(memory_bytes),
            cpu_millis: given(cpu_millis),
            pids: given(pids),
        })
    }
}

/// A duration within `range` (milliseconds), or the default (seconds) when absent.
fn duration(
    field: &'static str,
    wire: Option<prost_types::Duration>,
    default_secs: u64,
    range: std::ops::RangeInclusive<u64>,
) -> Result<Duration, Problem> {
    let Some(wire) = wire else { return Ok(Duration::from_secs(default_secs)) };
    let (from, to) = (Duration::from_millis(*range.start()), Duration::from_millis(*range.end()));
    Duration::try_from(wire).ok().filter(|it| (from..=to).contains(it)).ok_or_else(|| {
        Problem::invalid("SW-DURATION", field, format!("it is not between {from:?} and {to:?}"))
    })
}
