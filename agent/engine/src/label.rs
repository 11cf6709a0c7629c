//! The labels by which our objects are found. Every network, volume, image and container that
//! Slipway makes carries [`APP`]; objects without it are neither shown nor touched.

use std::collections::BTreeMap;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// The app's key: `web`, or `web.staging`.
pub const APP: &str = "dev.slipway.app";
/// Number of the release.
pub const RELEASE: &str = "dev.slipway.release";
/// Service within the app.
pub const SERVICE: &str = "dev.slipway.service";
/// Id of the deployment that made it.
pub const DEPLOY: &str = "dev.slipway.deploy";
/// Number of the replica, from 1.
pub const REPLICA: &str = "dev.slipway.replica";
/// Fingerprint of the [`ContainerSpec`](crate::container::ContainerSpec); set by the engine.
pub const SPEC: &str = "dev.slipway.spec";

/// Which objects: those that have all of these labels. An empty value asks for the label alone.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filter(Vec<(String, String)>);

impl Filter {
    /// Everything that Slipway made.
    pub fn ours() -> Self {
        Self::default().with(APP, "")
    }

    /// What belongs to one app.
    pub fn app(key: impl Into<String>) -> Self {
        Self::default().with(APP, key)
    }

    /// Only those that also have this label; with any value when `value` is empty.
    #[must_use]
    pub fn with(mut self, label: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.push((label.into(), value.into()));
        self
    }

    /// Whether an object with these labels is meant.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|(label, value)| {
            labels.get(label).is_some_and(|it| value.is_empty() || it == value)
        })
    }

    /// As Docker wants it: `label` or `label=value`.
    pub(crate) fn terms(&self) -> Vec<String> {
        let term = |(label, value): &(String, String)| match value.as_str() {
            "" => label.clone(),
            _ => format!("{label}={value}"),
        };
        self.0.iter().map(term).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_labels_of_a_filter_must_match() {
        let filter = Filter::app("web").with(RELEASE, "");
        let labels = |pairs: &[(&str, &str)]| -> Labels {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        assert!(filter.matches(&labels(&[(APP, "web"), (RELEASE, "3")])));
        assert!(!filter.matches(&labels(&[(APP, "web")])));
        assert!(!filter.matches(&labels(&[(APP, "api"), (RELEASE, "3")])));
        assert_eq!(filter.terms(), ["dev.slipway.app=web", "dev.slipway.release"]);
    }
}
