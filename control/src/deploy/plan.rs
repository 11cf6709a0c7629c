//! What a rollout does next: a pure function of how far each server has come.

use slipway_proto::problem::{Kind, Problem};

use slipway_store::Failure;

use super::drive::Reached;

/// What a rollout is at. It goes down this list, or to `Abort`; each move is in the journal before
/// any server hears of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// Every server prepares.
    Prepare,
    /// Traffic moves.
    Activate,
    /// The new release is kept. From here on there is no way back.
    Commit,
    /// Everything is put back.
    Abort,
}

/// What else a decision depends on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Circumstances {
    /// The user asked to stop.
    pub(super) canceled: bool,
    /// The stage has lasted too long.
    pub(super) overdue: bool,
    /// Traffic may have moved.
    pub(super) moved: bool,
}

/// What to do next.
#[derive(Debug, PartialEq)]
pub(super) enum Decision {
    /// Wait for news.
    Wait,
    /// Go on to this stage.
    Go(Stage),
    /// Put everything back, because of this.
    Abort(Failure),
    /// Every server serves the new release.
    Succeeded,
    /// Every server is as it was.
    Failed,
    /// It can neither be finished nor put back.
    Stuck(Failure),
    /// Another replica has taken over.
    Fenced,
}

/// Decides. Reads nothing and changes nothing.
pub(super) fn decide(stage: Stage, servers: &[Reached], now: Circumstances) -> Decision {
    if servers.contains(&Reached::Fenced) {
        return Decision::Fenced;
    }
    match stage {
        Stage::Prepare | Stage::Activate => forward(stage, servers, now),
        Stage::Commit => commit(servers, now),
        Stage::Abort => abort(servers, now),
    }
}

fn forward(stage: Stage, servers: &[Reached], now: Circumstances) -> Decision {
    if let Some(failure) = servers.iter().find_map(Reached::failure) {
        return Decision::Abort(failure.clone());
    }
    let gone = |it: &Reached| matches!(it, Reached::Undone(_));
    if servers.iter().any(gone) {
        return Decision::Abort(held_too_long());
    }
    if now.canceled {
        return Decision::Abort(canceled());
    }
    let prepared = |it: &Reached| !matches!(it, Reached::Nothing);
    let active = |it: &Reached| matches!(it, Reached::Activated { .. } | Reached::Committed { .. });
    match stage {
        Stage::Prepare if servers.iter().all(prepared) => Decision::Go(Stage::Activate),
        Stage::Activate if servers.iter().all(active) => Decision::Go(Stage::Commit),
        _ if now.overdue => Decision::Abort(overdue(stage)),
        _ => Decision::Wait,
    }
}

fn commit(servers: &[Reached], now: Circumstances) -> Decision {
    let committed = |it: &Reached| matches!(it, Reached::Committed { .. });
    if servers.iter().all(committed) {
        return Decision::Succeeded;
    }
    if now.overdue || servers.iter().all(Reached::is_end) {
        let failure = servers.iter().find_map(Reached::failure).cloned();
        return Decision::Stuck(failure.unwrap_or_else(|| overdue(Stage::Commit)));
    }
    Decision::Wait
}

fn abort(servers: &[Reached], now: Circumstances) -> Decision {
    if !now.overdue && !servers.iter().all(Reached::is_end) {
        return Decision::Wait;
    }
    let kept = |it: &Reached| matches!(it, Reached::Committed { .. });
    let unknown = |it: &Reached| !it.is_end() || matches!(it, Reached::Lost(_));
    let stuck = servers.iter().find(|it| kept(it) || (now.moved && unknown(it)));
    match stuck {
        // A prepared server whose control plane is gone undoes by itself.
        None => Decision::Failed,
        Some(server) => Decision::Stuck(server.failure().cloned().unwrap_or_else(left)),
    }
}

fn canceled() -> Failure {
    Problem::new(Kind::Canceled, "SW-CANCELED", "the deployment was canceled").into()
}

fn held_too_long() -> Failure {
    let message = "a server put the prepared release back, for nobody asked for it in time";
    Problem::new(Kind::Timeout, "SW-HOLD", message).hint("deploy again").into()
}

fn overdue(stage: Stage) -> Failure {
    let what = match stage {
        Stage::Prepare => "preparing the release",
        Stage::Activate => "moving traffic",
        Stage::Commit => "retiring the old release",
        Stage::Abort => "putting things back",
    };
    let message = format!("{what} took too long");
    Problem::new(Kind::Timeout, "SW-TIMEOUT", message).into()
}

fn left() -> Failure {
    let message = "a server could not be put back; it may serve the new release";
    Problem::new(Kind::Internal, "SW-STUCK", message)
        .hint("look at the server with `slipway server health`, then deploy again")
        .into()
}

#[cfg(test)]
mod tests {
    use slipway_proto::agent::v1::Prepared;

    use super::*;

    const CALM: Circumstances = Circumstances { canceled: false, overdue: false, moved: false };

    fn prepared() -> Reached {
        Reached::Prepared(Prepared::default())
    }

    fn active() -> Reached {
        Reached::Activated { prepared: None, urls: Vec::new() }
    }

    fn committed() -> Reached {
        Reached::Committed { prepared: None, urls: Vec::new() }
    }

    fn lost() -> Reached {
        Reached::Lost(overdue(Stage::Prepare))
    }

    #[test]
    fn traffic_moves_only_when_every_server_is_prepared() {
        let decide = |servers: &[Reached]| decide(Stage::Prepare, servers, CALM);
        assert_eq!(decide(&[prepared(), Reached::Nothing]), Decision::Wait);
        assert_eq!(decide(&[prepared(), prepared()]), Decision::Go(Stage::Activate));
    }

    #[test]
    fn one_failure_puts_all_back_before_the_commit_and_none_after_it() {
        for stage in [Stage::Prepare, Stage::Activate] {
            assert!(matches!(decide(stage, &[active(), lost()], CALM), Decision::Abort(_)));
        }
        let servers = [Reached::Nothing, lost()];
        assert_eq!(decide(Stage::Commit, &servers, CALM), Decision::Wait);
        let servers = [committed(), lost()];
        assert!(matches!(decide(Stage::Commit, &servers, CALM), Decision::Stuck(_)));
        assert_eq!(decide(Stage::Commit, &[committed(), committed()], CALM), Decision::Succeeded);
    }

    #[test]
    fn a_cancel_counts_until_the_commit() {
        let canceled = Circumstances { canceled: true, ..CALM };
        let servers = [active()];
        for stage in [Stage::Prepare, Stage::Activate] {
            let Decision::Abort(failure) = decide(stage, &servers, canceled) else { panic!() };
            assert_eq!(failure.code, "SW-CANCELED");
        }
        assert_eq!(decide(Stage::Commit, &servers, canceled), Decision::Wait);
    }

    #[test]
    fn a_lost_server_is_only_harmless_before_traffic_moved() {
        let servers = [Reached::Undone(None), lost()];
        let moved = Circumstances { moved: true, ..CALM };
        assert_eq!(decide(Stage::Abort, &servers, CALM), Decision::Failed);
        assert!(matches!(decide(Stage::Abort, &servers, moved), Decision::Stuck(_)));
        let servers = [Reached::Undone(None), Reached::Nothing];
        let late = Circumstances { moved: true, overdue: true, ..CALM };
        assert_eq!(decide(Stage::Abort, &servers, moved), Decision::Wait);
        assert!(matches!(decide(Stage::Abort, &servers, late), Decision::Stuck(_)));
    }

    #[test]
    fn whatever_the_stage_a_fenced_rollout_stops() {
        for stage in [Stage::Prepare, Stage::Activate, Stage::Commit, Stage::Abort] {
            let decision = decide(stage, &[committed(), Reached::Fenced], CALM);
            assert_eq!(decision, Decision::Fenced);
        }
    }
}
