//! How our objects in Docker are called and labeled. The prefix lets several agents share one
//! daemon, as in tests; each sees only its own.

use slipway_engine::label::{self, Filter, Labels};
use slipway_proto::value::{AppKey, Name, ServiceName};
use uuid::Uuid;

/// Tells the agents of one daemon apart.
pub const INSTANCE: &str = "dev.slipway.instance";

/// How our objects are called.
#[derive(Clone, Debug)]
pub struct Names {
    prefix: String,
}

impl Names {
    /// Names that begin with `prefix`; usually `slipway`.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into() }
    }

    /// A container: `slipway-<app>-<service>-<release>-<n>`.
    pub fn container(&self, key: &AppKey, service: &ServiceName, release: u64, n: u16) -> String {
        format!("{}-{key}-{service}-{release}-{n}", self.prefix)
    }

    /// An app's network: `slipway-<app>`.
    pub fn network(&self, key: &AppKey) -> String {
        format!("{}-{key}", self.prefix)
    }

    /// A volume of an app: `slipway-<app>-<volume>`.
    pub fn volume(&self, key: &AppKey, volume: &Name) -> String {
        format!("{}-{key}-{volume}", self.prefix)
    }

    /// The image of a release: `slipway/<app>:<release>`.
    pub fn image(&self, key: &AppKey, release: u64) -> String {
        format!("{}{release}", self.images(key))
    }

    /// How the names of an app's images begin.
    pub fn images(&self, key: &AppKey) -> String {
        format!("{}/{key}:", self.prefix)
    }

    /// The app whose image a name is, if it is one of ours.
    pub fn app_of<'a>(&self, tag: &'a str) -> Option<&'a str> {
        let rest = tag.strip_prefix(self.prefix.as_str())?.strip_prefix('/')?;
        let (app, release) = rest.split_once(':')?;
        release.bytes().all(|it| it.is_ascii_digit()).then_some(app)
    }

    /// Labels of what belongs to an app.
    pub fn app_labels(&self, key: &AppKey) -> Labels {
        Labels::from([
            (label::APP.to_owned(), key.to_string()),
            (INSTANCE.to_owned(), self.prefix.clone()),
        ])
    }

    /// Labels of what one deployment has made.
    pub fn labels(&self, key: &AppKey, release: u64, deploy_id: Uuid) -> Labels {
        let mut labels = self.app_labels(key);
        labels.insert(label::RELEASE.to_owned(), release.to_string());
        labels.insert(label::DEPLOY.to_owned(), deploy_id.to_string());
        labels
    }

    /// Everything of this agent.
    pub fn ours(&self) -> Filter {
        Filter::ours().with(INSTANCE, self.prefix.clone())
    }

    /// Everything of one app.
    pub fn of(&self, key: &AppKey) -> Filter {
        Filter::app(key.to_string()).with(INSTANCE, self.prefix.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_app_service_release_and_number() {
        let names = Names::new("slipway");
        let key: AppKey = "web.staging".parse().unwrap();
        let service = ServiceName::parse("api").unwrap();
        assert_eq!(names.container(&key, &service, 3, 1), "slipway-web.staging-api-3-1");
        assert_eq!(names.image(&key, 3), "slipway/web.staging:3");
        assert_eq!(names.app_of("slipway/web.staging:3"), Some("web.staging"));
        assert_eq!(names.app_of("slipway/web:latest"), None);
        assert_eq!(names.app_of("slipway2/web:3"), None);
        assert_eq!(names.network(&key), "slipway-web.staging");
    }
}
