//! What Docker is told for a container. Everything that keeps containers apart from each other and
//! from the machine is in this one pure function.
//!
//! The capabilities that are given back are those without which ordinary images fail that start as
//! root and then become somebody else (nginx, postgres, redis, php, s6): changing owners and
//! identities, passing by file permissions, signaling their own children, binding low ports. Not
//! given back, though Docker would: raw sockets, device nodes, file capabilities, chroot, the audit
//! log. With `no-new-privileges` none of them can be had through a file either, and an image that
//! runs as a user of its own has none at all.

use std::collections::HashMap;

use bollard::models;

use crate::{
    container::{ContainerSpec, Limits, Mount, Restart},
    error::{Error, Result},
    label,
};

/// The capabilities that a container has while its process is root.
pub const CAPABILITIES: [&str; 7] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"];

/// How much output one file holds.
pub const LOG_FILE_SIZE: &str = "10m";
/// How many files of output a container keeps.
pub const LOG_FILES: u32 = 3;

/// The least memory that Docker gives.
const LEAST_MEMORY: u64 = 6 << 20;

/// What Docker is told. Fails when the spec says something that Docker would take for more.
pub(super) fn body(spec: &ContainerSpec) -> Result<models::ContainerCreateBody> {
    check(spec)?;
    let mut labels: HashMap<_, _> = spec.labels.clone().into_iter().collect();
    labels.insert(label::SPEC.to_owned(), spec.fingerprint());
    let env = spec.env.iter().map(|(key, value)| format!("{key}={}", value.expose())).collect();
    let stop_timeout = i64::try_from(spec.stop_grace.as_millis().div_ceil(1000)).ok();
    Ok(models::ContainerCreateBody {
        image: Some(spec.image.to_string()),
        cmd: (!spec.command.is_empty()).then(|| spec.command.clone()),
        env: Some(env),
        labels: Some(labels),
        tty: Some(false),
        open_stdin: Some(false),
        stop_timeout,
        host_config: Some(host_config(spec)),
        networking_config: Some(networking(spec)),
        ..Default::default()
    })
}

fn host_config(spec: &ContainerSpec) -> models::HostConfig {
    let Limits { memory_bytes, cpu_millis, pids } = spec.limits;
    let memory = i64::try_from(memory_bytes).unwrap_or(i64::MAX);
    let log = [("max-size", LOG_FILE_SIZE.to_owned()), ("max-file", LOG_FILES.to_string())];
    models::HostConfig {
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(CAPABILITIES.map(str::to_owned).to_vec()),
        security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
        privileged: Some(false),
        memory: Some(memory),
        memory_swap: Some(memory),
        nano_cpus: cpu_millis.map(|it| i64::from(it) * 1_000_000),
        pids_limit: Some(i64::from(pids)),
        // No files of memory on the disk. Raising a limit instead could fail at start, where the
        // daemon itself has less; descriptors are therefore the daemon's to give.
        ulimits: Some(vec![models::ResourcesUlimits {
            name: Some("core".to_owned()),
            soft: Some(0),
            hard: Some(0),
        }]),
        ipc_mode: Some("private".to_owned()),
        cgroupns_mode: Some(models::HostConfigCgroupnsModeEnum::PRIVATE),
        network_mode: Some(spec.network.network.clone()),
        publish_all_ports: Some(false),
        mounts: Some(spec.mounts.iter().map(mount).collect()),
        restart_policy: Some(restart_policy(spec.restart)),
        auto_remove: Some(false),
        // Named, so that the files can be read directly whatever the daemon's default is.
        log_config: Some(models::HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(log.map(|(key, value)| (key.to_owned(), value)).into()),
        }),
        ..Default::default()
    }
}

fn networking(spec: &ContainerSpec) -> models::NetworkingConfig {
    let endpoint = models::EndpointSettings {
        ipam_config: Some(models::EndpointIpamConfig {
            ipv4_address: Some(spec.network.address.to_string()),
            ..Default::default()
        }),
        aliases: Some(spec.network.aliases.clone()),
        ..Default::default()
    };
    let all = HashMap::from([(spec.network.network.clone(), endpoint)]);
    models::NetworkingConfig { endpoints_config: Some(all) }
}

pub(super) fn restart_policy(restart: Restart) -> models::RestartPolicy {
    use models::RestartPolicyNameEnum as Name;
    let (name, limit) = match restart {
        Restart::Never => (Name::NO, None),
        Restart::UnlessStopped => (Name::UNLESS_STOPPED, None),
        Restart::OnFailure(limit) => (Name::ON_FAILURE, Some(i64::from(limit))),
    };
    models::RestartPolicy { name: Some(name), maximum_retry_count: limit }
}

fn mount(mount: &Mount) -> models::Mount {
    models::Mount {
        typ: Some(models::MountType::VOLUME),
        source: Some(mount.volume.clone()),
        target: Some(mount.path.clone()),
        read_only: Some(false),
        ..Default::default()
    }
}

/// Refuses what Docker would take for something else than it says.
fn check(spec: &ContainerSpec) -> Result<()> {
    let refuse = |what, value: &str, problem| Err(Error::argument(what, value, problem));
    if !is_name(&spec.name) {
        return refuse("container name", &spec.name, "is not a name");
    }
    let network = spec.network.network.as_str();
    if !is_name(network) || matches!(network, "host" | "none" | "bridge" | "default" | "nat") {
        return refuse("network", network, "is not the name of a network of ours");
    }
    if spec.limits.memory_bytes < LEAST_MEMORY {
        return refuse("memory", &spec.limits.memory_bytes.to_string(), "is less than 6 MiB");
    }
    if spec.limits.pids == 0 || spec.limits.cpu_millis == Some(0) {
        return refuse("limit", "0", "would mean no limit");
    }
    for Mount { volume, path } in &spec.mounts {
        if !is_name(volume) {
            return refuse("volume", volume, "is not a name");
        }
        if !path.starts_with('/') || path == "/" || path.split('/').any(|it| it == "..") {
            return refuse("volume path", path, "is not an absolute path below `/`");
        }
    }
    for key in spec.env.keys() {
        if key.is_empty() || key.contains(['=', '\0']) {
            return refuse("variable", key, "is not a name");
        }
    }
    if !spec.labels.contains_key(label::APP) {
        return refuse("container", &spec.name, "has no label that says whose it is");
    }
    Ok(())
}

/// Docker's rule for names, which leaves no room for paths, drivers or modes.
pub(super) fn is_name(text: &str) -> bool {
    let first = |it: char| it.is_ascii_alphanumeric();
    text.starts_with(first) && text.chars().all(|it| first(it) || matches!(it, '_' | '.' | '-'))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use expect_test::expect_file;
    use proptest::{collection, prelude::*};
    use serde_json::Value;
    use slipway_host::Secret;

    use super::*;
    use crate::{container::tests::spec, network::Attachment};

    fn json(spec: &ContainerSpec) -> Result<Value> {
        body(spec).map(|it| serde_json::to_value(it).unwrap())
    }

    #[test]
    fn docker_is_told_exactly_this() {
        let mut text = serde_json::to_string_pretty(&json(&spec()).unwrap()).unwrap();
        text.push('\n');
        expect_file!["../../golden/container.json"].assert_eq(&text);
    }

    #[test]
    fn zero_never_means_no_limit() {
        for limits in [
            Limits { memory_bytes: 0, ..spec().limits },
            Limits { pids: 0, ..spec().limits },
            Limits { cpu_millis: Some(0), ..spec().limits },
        ] {
            assert!(body(&ContainerSpec { limits, ..spec() }).is_err(), "{limits:?}");
        }
    }

    #[test]
    fn a_network_is_never_a_mode() {
        for network in ["host", "none", "container:db", "ns:/proc/1/ns/net", "", "a/b"] {
            let network = Attachment { network: network.to_owned(), ..spec().network };
            assert!(body(&ContainerSpec { network, ..spec() }).is_err());
        }
    }

    /// Words that would do harm if they got through, among any others.
    fn word() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("host".to_owned()),
            Just("container:slipway-db".to_owned()),
            Just("/var/run/docker.sock".to_owned()),
            Just("/".to_owned()),
            Just("privileged".to_owned()),
            Just("slipway-web".to_owned()),
            "[a-z]{1,8}",
            ".{0,12}",
        ]
    }

    fn specs() -> impl Strategy<Value = ContainerSpec> {
        let words = || collection::vec(word(), 0..3);
        let mounts = collection::vec((word(), word()), 0..3);
        let env = collection::btree_map(word(), word(), 0..3);
        let labels = collection::btree_map(word(), word(), 0..3);
        let limits = (0_u64.., proptest::option::of(0_u32..), 0_u32..);
        let strings = (word(), words(), word(), words());
        (strings, mounts, env, labels, limits).prop_map(
            |((name, command, network, aliases), mounts, env, mut labels, limits)| {
                labels.insert(label::APP.to_owned(), "web".to_owned());
                let (memory_bytes, cpu_millis, pids) = limits;
                ContainerSpec {
                    name,
                    command,
                    env: env.into_iter().map(|(key, it)| (key, Secret::new(it))).collect(),
                    labels,
                    network: Attachment { network, aliases, ..spec().network },
                    mounts: mounts
                        .into_iter()
                        .map(|(volume, path)| Mount { volume, path })
                        .collect(),
                    limits: Limits { memory_bytes, cpu_millis, pids },
                    stop_grace: Duration::from_secs(1),
                    ..spec()
                }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_spec_breaks_out(spec in specs()) {
            let Ok(told) = json(&spec) else { return Ok(()) };
            let host = told.get("HostConfig").unwrap();
            let at = |key: &str| host.get(key).cloned().unwrap_or(Value::Null);
            prop_assert_eq!(at("Privileged"), Value::Bool(false));
            prop_assert_eq!(at("CapDrop"), serde_json::json!(["ALL"]));
            prop_assert_eq!(at("CapAdd"), serde_json::json!(CAPABILITIES));
            prop_assert_eq!(at("SecurityOpt"), serde_json::json!(["no-new-privileges:true"]));
            for never in [
                "Binds", "Devices", "DeviceRequests", "DeviceCgroupRules", "VolumesFrom", "PidMode",
                "UTSMode", "UsernsMode", "Cgroup", "CgroupParent", "PortBindings", "Tmpfs", "Links",
                "Sysctls", "Runtime", "GroupAdd", "OomKillDisable", "OomScoreAdj", "MaskedPaths",
                "ReadonlyPaths", "VolumeDriver", "StorageOpt", "ExtraHosts", "Dns",
            ] {
                prop_assert_eq!(at(never), Value::Null, "{}", never);
            }
            prop_assert_eq!(at("IpcMode"), Value::from("private"));
            prop_assert_eq!(at("CgroupnsMode"), Value::from("private"));
            prop_assert!(0 < at("Memory").as_i64().unwrap());
            prop_assert_eq!(at("Memory"), at("MemorySwap"));
            prop_assert!(0 < at("PidsLimit").as_i64().unwrap());
            let mode = at("NetworkMode");
            let mode = mode.as_str().unwrap();
            prop_assert!(is_name(mode) && mode != "host" && mode != "none");
            for mount in at("Mounts").as_array().unwrap() {
                prop_assert_eq!(mount.get("Type").unwrap(), "volume");
                prop_assert!(is_name(mount.get("Source").unwrap().as_str().unwrap()));
                prop_assert!(mount.get("VolumeOptions").is_none());
                prop_assert!(mount.get("BindOptions").is_none());
            }
            prop_assert!(told.get("User").is_none());
            prop_assert_eq!(told.get("NetworkingConfig").unwrap()
                .get("EndpointsConfig").unwrap().as_object().unwrap().len(), 1);
        }
    }
}
