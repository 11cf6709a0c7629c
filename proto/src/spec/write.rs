//! From the checked specification back to the wire's message, secrets included.

use std::time::Duration;

use super::{AppSpec, Build, Health, Login, Resources, Source};
use crate::{agent::v1 as wire, value::Port};

impl From<&AppSpec> for wire::AppSpec {
    fn from(spec: &AppSpec) -> Self {
        let AppSpec {
            key,
            service,
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
        } = spec;
        let pairs = |(name, value): (&_, &str)| (String::clone(name), value.to_owned());
        Self {
            app: key.app.to_string(),
            service: service.to_string(),
            environment: key.environment().to_owned(),
            source: Some(source.into()),
            port: port.map_or(0, |it: Port| it.into()),
            env: env.iter().map(|(name, value)| pairs((&name.to_string(), value))).collect(),
            secrets: secrets
                .iter()
                .map(|(name, value)| pairs((&name.to_string(), value.expose())))
                .collect(),
            tags: tags.clone(),
            health: Some(health.into()),
            resources: Some(resources.into()),
            domains: domains.iter().map(ToString::to_string).collect(),
            volumes: volumes
                .iter()
                .map(|it| wire::Volume { name: it.name.to_string(), path: it.path.to_string() })
                .collect(),
            replicas: u32::from(*replicas),
            command: command.clone(),
            drain_timeout: duration(*drain_timeout),
            stop_grace: duration(*stop_grace),
        }
    }
}

impl From<&Source> for wire::Source {
    fn from(source: &Source) -> Self {
        use wire::source::Kind;
        let kind = match source {
            Source::Archive { size_bytes, sha256, build } => Kind::Archive(wire::ArchiveSource {
                size_bytes: *size_bytes,
                sha256: sha256.to_vec().into(),
                build: Some(build.into()),
            }),
            Source::Git { url, reference, token, build } => Kind::Git(wire::GitSource {
                url: url.to_string(),
                r#ref: reference.as_ref().map(ToString::to_string).unwrap_or_default(),
                token: token.expose().to_owned(),
                build: Some(build.into()),
            }),
            Source::Image { reference, login } => {
                let (username, password) = match login {
                    Some(Login { username, password }) => {
                        (username.clone(), password.expose().to_owned())
                    }
                    None => Default::default(),
                };
                Kind::Image(wire::ImageSource {
                    reference: reference.to_string(),
                    username,
                    password,
                })
            }
            Source::Release { image_id } => {
                Kind::Release(wire::ReleaseSource { image_id: image_id.to_string() })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl From<&Build> for wire::Build {
    fn from(Build { dockerfile, dockerfile_path }: &Build) -> Self {
        Self {
            dockerfile: dockerfile.clone().unwrap_or_default(),
            dockerfile_path: dockerfile_path.clone().unwrap_or_default(),
        }
    }
}

impl From<&Health> for wire::HealthCheck {
    fn from(Health { path, interval, timeout }: &Health) -> Self {
        Self {
            path: path.as_ref().map(ToString::to_string).unwrap_or_default(),
            interval: duration(*interval),
            timeout: duration(*timeout),
        }
    }
}

impl From<&Resources> for wire::Resources {
    fn from(Resources { memory_bytes, cpu_millis, pids }: &Resources) -> Self {
        Self {
            memory_bytes: memory_bytes.unwrap_or(0),
            cpu_millis: cpu_millis.unwrap_or(0),
            pids: pids.unwrap_or(0),
        }
    }
}

/// Every duration of a checked specification is at most half an hour, so it always fits.
fn duration(it: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(it).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> wire::AppSpec {
        wire::AppSpec {
            app: "web".into(),
            service: "api".into(),
            environment: "staging".into(),
            source: Some(wire::Source {
                kind: Some(wire::source::Kind::Git(wire::GitSource {
                    url: "https://example.com/me/x.git".into(),
                    r#ref: "main".into(),
                    token: "hunter2".into(),
                    build: Some(wire::Build {
                        dockerfile: String::new(),
                        dockerfile_path: "d/D".into(),
                    }),
                })),
            }),
            port: 3000,
            env: [("A".to_owned(), "1".to_owned())].into(),
            secrets: [("S".to_owned(), "hunter3".to_owned())].into(),
            tags: vec!["team=a".into()],
            health: Some(wire::HealthCheck {
                path: "/up".into(),
                interval: duration(Duration::from_secs(1)),
                timeout: duration(Duration::from_secs(90)),
            }),
            resources: Some(wire::Resources { memory_bytes: 64 << 20, cpu_millis: 500, pids: 64 }),
            domains: vec!["app.example.com".into()],
            volumes: vec![wire::Volume { name: "data".into(), path: "/data".into() }],
            replicas: 2,
            command: vec!["serve".into()],
            drain_timeout: duration(Duration::from_secs(5)),
            stop_grace: duration(Duration::from_secs(3)),
        }
    }

    #[test]
    fn what_is_read_is_written_again() {
        let spec = AppSpec::try_from(full()).unwrap();
        assert_eq!(wire::AppSpec::from(&spec), full());
    }

    #[test]
    fn neither_debug_nor_json_shows_a_secret() {
        let spec = AppSpec::try_from(full()).unwrap();
        let text = format!("{spec:?} {:?} {}", full(), serde_json::to_string(&spec).unwrap());
        assert!(!text.contains("hunter"), "{text}");
    }

    #[test]
    fn defaults_are_filled_in() {
        let source = Some(wire::Source {
            kind: Some(wire::source::Kind::Image(wire::ImageSource {
                reference: "nginx".into(),
                ..Default::default()
            })),
        });
        let wire = wire::AppSpec { app: "web".into(), source, ..Default::default() };
        let spec = AppSpec::try_from(wire).unwrap();
        assert_eq!((spec.replicas, spec.port, spec.service.as_str()), (1, None, "web"));
        assert_eq!(spec.health.timeout, Duration::from_secs(60));
        assert_eq!(spec.drain_timeout, Duration::from_secs(30));
    }

    #[test]
    fn the_variable_port_is_the_port() {
        let with = |port, variable: &str| {
            let env = [("PORT".to_owned(), variable.to_owned())].into();
            AppSpec::try_from(wire::AppSpec { port, env, ..full() })
        };
        let spec = with(0, "5000").unwrap();
        assert_eq!((spec.port.map(Port::get), spec.env.len()), (Some(5000), 0));
        assert_eq!(with(3000, "5000").unwrap_err().code, "SW-PORT");
        assert!(with(5000, "5000").is_ok());
    }

    #[test]
    fn every_limit_has_its_code() {
        type Edit = fn(&mut wire::AppSpec);
        let cases: [(&str, Edit); 14] = [
            ("SW-NAME", |it| it.app = "A".into()),
            ("SW-NAME", |it| it.environment = "-".into()),
            ("SW-SOURCE", |it| it.source = None),
            ("SW-PORT", |it| it.port = 70_000),
            ("SW-ENV-TWICE", |it| drop(it.secrets.insert("A".into(), "1".into()))),
            ("SW-TAG", |it| it.tags = vec!["a b".into()]),
            ("SW-HEALTH", |it| it.health.as_mut().unwrap().path = "up".into()),
            ("SW-DURATION", |it| it.drain_timeout = duration(Duration::from_secs(601))),
            ("SW-MEMORY", |it| it.resources.as_mut().unwrap().memory_bytes = 1),
            ("SW-CPUS", |it| it.resources.as_mut().unwrap().cpu_millis = 1),
            ("SW-DOMAIN-SYNTAX", |it| it.domains = vec!["_".into()]),
            ("SW-VOLUME", |it| it.volumes.push(it.volumes[0].clone())),
            ("SW-REPLICAS", |it| it.replicas = 21),
            ("SW-COMMAND", |it| it.command = vec!["\0".into()]),
        ];
        for (code, edit) in cases {
            let mut wire = full();
            edit(&mut wire);
            assert_eq!(AppSpec::try_from(wire).unwrap_err().code, code);
        }
    }
}
