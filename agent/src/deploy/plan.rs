//! What is to be made, kept and removed. Decides from values; reads nothing and changes nothing.

use std::{collections::BTreeSet, fmt};

use crate::{
    app::{AppRecord, Release},
    world::STOPPED,
};

/// A container of the app that exists.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// Its name.
    pub name: String,
    /// The deployment that made it.
    pub deploy_id: String,
    /// Whether it runs.
    pub running: bool,
}

/// Something to do. Each can be repeated.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Make and start a container.
    Make(String),
    /// Start a container that exists.
    Start(String),
    /// Wait until the old release answers.
    AwaitOld,
    /// Send requests to the old release again.
    RouteBack(u64),
    /// Answer that the app is stopped.
    RouteNowhere,
    /// Answer nothing for the app.
    Unroute,
    /// Let requests on a release end.
    Drain(u64),
    /// Stop a container and keep it.
    Stop(String),
    /// Make the new release the serving one.
    Record(u64),
    /// Remove a container.
    Remove(String),
    /// Remove a name of an image.
    Untag(String),
    /// Forget the specification of a release.
    Forget(u64),
    /// Remove everything that is left of an app that never served.
    ForgetApp,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Make(name) => write!(f, "make {name}"),
            Self::Start(name) => write!(f, "start {name}"),
            Self::AwaitOld => f.write_str("await the old release"),
            Self::RouteBack(release) => write!(f, "route to release {release}"),
            Self::RouteNowhere => f.write_str("route nowhere"),
            Self::Unroute => f.write_str("unroute"),
            Self::Drain(release) => write!(f, "drain release {release}"),
            Self::Stop(name) => write!(f, "stop {name}"),
            Self::Record(release) => write!(f, "record release {release}"),
            Self::Remove(name) => write!(f, "remove {name}"),
            Self::Untag(tag) => write!(f, "untag {tag}"),
            Self::Forget(release) => write!(f, "forget release {release}"),
            Self::ForgetApp => f.write_str("forget the app"),
        }
    }
}

/// What is there when containers are to be started.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Containers of the app.
    pub containers: Vec<Seen>,
    /// Names of those that belong to releases that are kept.
    pub kept: BTreeSet<String>,
}

/// How the containers of a release come to run: what earlier attempts left is used when it is this
/// deployment's, and goes when it is not.
pub fn start(wanted: &[String], deploy_id: &str, standing: &Standing) -> Vec<Step> {
    let mut steps = Vec::new();
    for seen in &standing.containers {
        let stray = seen.deploy_id != deploy_id && !standing.kept.contains(&seen.name);
        let surplus = seen.deploy_id == deploy_id && !wanted.contains(&seen.name);
        if stray || surplus {
            steps.push(Step::Remove(seen.name.clone()));
        }
    }
    // A container of this deployment may be half made; making it again finds out and goes on.
    steps.extend(wanted.iter().cloned().map(Step::Make));
    steps
}

/// What is there when a release is to be committed.
#[derive(Clone, Debug)]
pub struct Moved {
    /// The record before.
    pub before: AppRecord,
    /// The record after.
    pub after: AppRecord,
    /// Containers of the app.
    pub containers: Vec<Seen>,
    /// Releases of which a specification is kept, and so perhaps an image.
    pub specs: Vec<u64>,
}

/// How the old release retires and the new one is kept. `images` is how names of the app's images
/// begin.
pub fn commit(release: u64, images: &str, moved: &Moved) -> Vec<Step> {
    let Moved { before, after, containers, specs } = moved;
    let mut steps = Vec::new();
    let old = before.serving.as_ref().filter(|it| it.release != release);
    if let Some(old) = old {
        steps.push(Step::Drain(old.release));
        steps.extend(running(&names(old), containers).map(Step::Stop));
    }
    steps.push(Step::Record(release));
    let kept: BTreeSet<String> =
        after.serving.iter().chain(&after.previous).flat_map(names).collect();
    let gone = containers.iter().filter(|it| !kept.contains(&it.name));
    steps.extend(gone.map(|it| Step::Remove(it.name.clone())));
    let releases = after.releases();
    for old in specs.iter().filter(|it| !releases.contains(it)) {
        steps.extend([Step::Untag(format!("{images}{old}")), Step::Forget(*old)]);
    }
    steps
}

/// What is there when a deployment is to be undone.
#[derive(Clone, Debug)]
pub struct Halfway {
    /// What the app was before, and still is.
    pub record: AppRecord,
    /// Containers of the app.
    pub containers: Vec<Seen>,
    /// The generation that gets the app's requests now.
    pub generation: Option<u64>,
    /// Name of the release's image.
    pub image: String,
}

/// How everything comes to be as it was before.
pub fn undo(release: u64, deploy_id: &str, halfway: &Halfway) -> Vec<Step> {
    let Halfway { record, containers, generation, image } = halfway;
    let mut steps = Vec::new();
    let moved = *generation == Some(release);
    match &record.serving {
        Some(old) if record.stopped => {
            if *generation != Some(STOPPED) {
                steps.push(Step::RouteNowhere);
            }
            steps.extend(running(&names(old), containers).map(Step::Stop));
        }
        Some(old) => {
            let down: Vec<_> = names(old)
                .into_iter()
                .filter(|name| !containers.iter().any(|it| it.name == *name && it.running))
                .collect();
            let asleep = !down.is_empty();
            steps.extend(down.into_iter().map(Step::Start));
            if asleep {
                steps.push(Step::AwaitOld);
            }
            if *generation != Some(old.release) {
                steps.push(Step::RouteBack(old.release));
            }
        }
        None => steps.push(Step::Unroute),
    }
    if moved {
        steps.push(Step::Drain(release));
    }
    let ours = containers.iter().filter(|it| it.deploy_id == deploy_id);
    steps.extend(ours.map(|it| Step::Remove(it.name.clone())));
    steps.extend([Step::Untag(image.clone()), Step::Forget(release)]);
    if record.serving.is_none() && record.kept.is_empty() {
        steps.push(Step::ForgetApp);
    }
    steps
}

fn names(release: &Release) -> Vec<String> {
    release.containers.iter().map(|it| it.name.clone()).collect()
}

fn running<'a>(names: &'a [String], containers: &'a [Seen]) -> impl Iterator<Item = String> + 'a {
    let runs = |it: &&Seen| it.running && names.contains(&it.name);
    containers.iter().filter(runs).map(|it| it.name.clone())
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use expect_test::{Expect, expect};
    use proptest::prelude::*;
    use slipway_proto::value::ServiceName;
    use uuid::Uuid;

    use super::*;
    use crate::deploy::{Image, Placed};

    fn release(number: u64) -> Release {
        let placed = |n| Placed {
            name: format!("web-{number}-{n}"),
            id: String::new(),
            address: Ipv4Addr::LOCALHOST,
        };
        Release {
            release: number,
            deploy_id: Uuid::from_u128(number.into()),
            service: ServiceName::parse("web").unwrap(),
            image: Image {
                id: format!("sha256:{number}"),
                port: 80,
                git_commit: None,
                digest: None,
            },
            containers: vec![placed(1)],
            domains: Vec::new(),
            path: None,
            drain_timeout: Duration::ZERO,
            stop_grace: Duration::ZERO,
        }
    }

    fn record(upto: u64) -> AppRecord {
        (1..=upto).fold(AppRecord::new("web".parse().unwrap()), |record, number| {
            record.with_serving(release(number), 0)
        })
    }

    /// `web-2-1` stopped, `web-2-1!` running; the deployment is the release.
    fn seen(text: &str) -> Vec<Seen> {
        let one = |it: &str| {
            let name = it.trim_end_matches('!');
            let deploy_id = name.split('-').nth(1).unwrap().to_owned();
            Seen { name: name.to_owned(), deploy_id, running: it.ends_with('!') }
        };
        text.split_whitespace().map(one).collect()
    }

    #[track_caller]
    fn check(steps: &[Step], expected: Expect) {
        let lines: Vec<_> = steps.iter().map(Step::to_string).collect();
        expected.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn what_an_earlier_attempt_left_goes_and_what_this_one_made_is_used() {
        let kept = ["web-2-1".to_owned()].into();
        let standing = Standing { containers: seen("web-2-1! web-3-1! web-3-3 web-9-1"), kept };
        let wanted = ["web-3-1".to_owned(), "web-3-2".to_owned()];
        check(
            &start(&wanted, "3", &standing),
            expect![[r#"
            remove web-3-3
            remove web-9-1
            make web-3-1
            make web-3-2"#]],
        );
    }

    fn committed(upto: u64, containers: &str, specs: &[u64]) -> Vec<Step> {
        let before = record(upto - 1);
        let after = before.with_serving(release(upto), 0);
        let moved = Moved { before, after, containers: seen(containers), specs: specs.to_vec() };
        commit(upto, "slipway/web:", &moved)
    }

    #[test]
    fn a_first_release_is_only_recorded() {
        check(&committed(1, "web-1-1!", &[1]), expect!["record release 1"]);
    }

    #[test]
    fn the_old_release_is_drained_then_stopped_then_replaced_and_the_one_before_it_removed() {
        check(
            &committed(3, "web-1-1 web-2-1! web-3-1!", &[1, 2, 3]),
            expect![[r#"
            drain release 2
            stop web-2-1
            record release 3
            remove web-1-1"#]],
        );
    }

    #[test]
    fn the_sixth_release_pushes_the_first_one_out() {
        check(
            &committed(6, "web-4-1 web-5-1 web-6-1!", &[1, 2, 3, 4, 5, 6]),
            expect![[r#"
            drain release 5
            record release 6
            remove web-4-1
            untag slipway/web:1
            forget release 1"#]],
        );
    }

    #[track_caller]
    fn check_undo(record: AppRecord, containers: &str, generation: Option<u64>, expected: Expect) {
        let image = "slipway/web:3".to_owned();
        let halfway = Halfway { record, containers: seen(containers), generation, image };
        check(&undo(3, "3", &halfway), expected);
    }

    #[test]
    fn before_the_switch_only_the_new_containers_go() {
        check_undo(
            record(2),
            "web-1-1 web-2-1! web-3-1!",
            Some(2),
            expect![[r#"
            remove web-3-1
            untag slipway/web:3
            forget release 3"#]],
        );
    }

    #[test]
    fn after_the_switch_requests_go_back_first() {
        check_undo(
            record(2),
            "web-2-1! web-3-1!",
            Some(3),
            expect![[r#"
            route to release 2
            drain release 3
            remove web-3-1
            untag slipway/web:3
            forget release 3"#]],
        );
    }

    #[test]
    fn an_old_release_that_was_stopped_already_is_started_before_requests_go_back() {
        check_undo(
            record(2),
            "web-2-1 web-3-1!",
            Some(3),
            expect![[r#"
            start web-2-1
            await the old release
            route to release 2
            drain release 3
            remove web-3-1
            untag slipway/web:3
            forget release 3"#]],
        );
    }

    #[test]
    fn of_a_first_deployment_nothing_is_left() {
        check_undo(
            record(0),
            "web-3-1!",
            Some(3),
            expect![[r#"
            unroute
            drain release 3
            remove web-3-1
            untag slipway/web:3
            forget release 3
            forget the app"#]],
        );
    }

    #[test]
    fn an_app_that_was_stopped_is_stopped_again() {
        let record = AppRecord { stopped: true, ..record(2) };
        check_undo(
            record,
            "web-2-1 web-3-1!",
            Some(3),
            expect![[r#"
            route nowhere
            drain release 3
            remove web-3-1
            untag slipway/web:3
            forget release 3"#]],
        );
    }

    fn position(steps: &[Step], step: &Step) -> Option<usize> {
        steps.iter().position(|it| it == step)
    }

    proptest! {
        #[test]
        fn undoing_never_touches_what_serves(runs in any::<[bool; 4]>(), generation in prop::option::of(1..4_u64)) {
            let mark = |it: bool| if it { "!" } else { "" };
            let containers = format!("web-1-1{} web-2-1{} web-3-1{} web-3-2{}",
                mark(runs[0]), mark(runs[1]), mark(runs[2]), mark(runs[3]));
            let image = "slipway/web:3".to_owned();
            let halfway = Halfway { record: record(2), containers: seen(&containers), generation, image };
            let steps = undo(3, "3", &halfway);
            for kept in ["web-1-1", "web-2-1"] {
                prop_assert_eq!(position(&steps, &Step::Remove(kept.to_owned())), None);
                prop_assert_eq!(position(&steps, &Step::Stop(kept.to_owned())), None);
            }
            // Whoever gets requests at the end is up before, and the new release goes after that.
            let route = position(&steps, &Step::RouteBack(2));
            let removal = position(&steps, &Step::Remove("web-3-1".to_owned()));
            prop_assert!(removal.is_some());
            prop_assert!(generation == Some(2) || route.is_some() && route < removal);
            if !runs[1] {
                prop_assert!(position(&steps, &Step::Start("web-2-1".to_owned())).is_some());
            }
        }

        #[test]
        fn committing_records_before_anything_of_the_old_is_removed(upto in 1..9_u64) {
            let containers: Vec<_> = (1..=upto).map(|it| format!("web-{it}-1!")).collect();
            let specs: Vec<_> = (1..=upto).collect();
            let steps = committed(upto, &containers.join(" "), &specs);
            let record = position(&steps, &Step::Record(upto));
            for (at, step) in steps.iter().enumerate() {
                let destroys = matches!(step, Step::Remove(_) | Step::Untag(_) | Step::Forget(_));
                prop_assert!(!destroys || record < Some(at), "{}", step);
                prop_assert_ne!(step, &Step::Remove(format!("web-{upto}-1")));
            }
        }
    }
}
