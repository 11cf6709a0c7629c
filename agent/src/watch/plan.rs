//! What is to be done so that an app is what its record says. Reads nothing and changes nothing.

use std::{collections::BTreeMap, fmt};

use crate::{app::AppRecord, world::STOPPED};

/// What there is of an app.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Names of its containers, and whether they are up.
    pub containers: BTreeMap<String, bool>,
    /// The generation that gets its requests.
    pub generation: Option<u64>,
}

/// Something to do. Each can be repeated.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Start a container that is down.
    Start(String),
    /// Make a container again that is gone.
    Make(String),
    /// Send requests to a release.
    Route(u64),
    /// Stop the app.
    Halt,
    /// Remove a container that belongs to nothing.
    Remove(String),
    /// Forget an app that never served.
    Forget,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(name) => write!(f, "start {name}"),
            Self::Make(name) => write!(f, "make {name} again"),
            Self::Route(release) => write!(f, "route to release {release}"),
            Self::Halt => f.write_str("stop the app"),
            Self::Remove(name) => write!(f, "remove {name}"),
            Self::Forget => f.write_str("forget the app"),
        }
    }
}

/// Decides the steps for an app that nobody else is at work on.
pub fn plan(record: &AppRecord, found: &Found) -> Vec<Step> {
    let Some(serving) = &record.serving else {
        let strays = found.containers.keys().cloned().map(Step::Remove);
        return strays.chain([Step::Forget]).collect();
    };
    let mut steps = Vec::new();
    let names = || serving.containers.iter().map(|it| &it.name);
    if record.stopped {
        let up = names().any(|name| found.containers.get(name) == Some(&true));
        if up || found.generation != Some(STOPPED) {
            steps.push(Step::Halt);
        }
    } else {
        for name in names() {
            match found.containers.get(name) {
                Some(true) => (),
                Some(false) => steps.push(Step::Start(name.clone())),
                None => steps.push(Step::Make(name.clone())),
            }
        }
        if found.generation != Some(serving.release) {
            steps.push(Step::Route(serving.release));
        }
    }
    let kept = |name: &&String| {
        let previous = record.previous.iter().flat_map(|it| &it.containers);
        serving.containers.iter().chain(previous).any(|it| it.name == **name)
    };
    steps.extend(found.containers.keys().filter(|it| !kept(it)).cloned().map(Step::Remove));
    steps
}
