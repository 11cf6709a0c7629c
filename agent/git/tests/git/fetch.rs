//! What comes of a fetch.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use slipway_git::{Checkout, Limits, Progress, Request, clone};
use slipway_host::Secret;
use slipway_proto::{
    problem::Problem,
    value::{GitRef, GitUrl, Outbound},
};
use tokio_util::sync::CancellationToken;

use crate::server::{Server, TOKEN};

const APP: &str = "
    mkdir -p bin deep/er
    echo one >a; printf '#!/bin/sh\\n' >bin/run; chmod +x bin/run; echo x >deep/er/x
    ln -s ../a deep/link
    git add -A; git commit -qm one; git tag -m first v1
    echo two >a; git commit -qam two
    git checkout -qb topic; echo three >a; git commit -qam three; git checkout -q main";

/// One fetch, and the folder in which it happens.
struct Fetch {
    dir: tempfile::TempDir,
    request: Request,
    stop: CancellationToken,
}

impl Fetch {
    fn of(url: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let request = Request {
            url: GitUrl::parse(url).unwrap(),
            reference: None,
            token: None,
            into: dir.path().join("files"),
            limits: Limits::default(),
            outbound: Outbound { allow_http: true, allow_private: true },
        };
        Self { dir, request, stop: CancellationToken::new() }
    }

    fn at(mut self, reference: &str) -> Self {
        self.request.reference = Some(GitRef::parse(reference).unwrap());
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Request)) -> Self {
        change(&mut self.request);
        self
    }

    async fn run(&self) -> Result<Checkout, Problem> {
        let (request, stop) = (self.request.clone(), self.stop.clone());
        let work = move || {
            let mut last = Progress::default();
            let result = clone(&request, &mut |it| last = it, &stop);
            if result.is_ok() {
                assert_eq!(last.objects, last.total_objects);
                assert!(0 < last.objects);
            }
            result
        };
        tokio::task::spawn_blocking(work).await.unwrap().map_err(Problem::from)
    }

    /// Runs it, sees it fail, and sees that nothing is left of it.
    async fn fail(&self) -> Problem {
        let problem = self.run().await.unwrap_err();
        let left: Vec<_> = fs::read_dir(self.dir.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?} is left after {problem}");
        assert!(!problem.to_string().contains(TOKEN), "{problem}");
        problem
    }

    #[track_caller]
    fn reads(&self, path: &str, text: &str) {
        let path = self.dir.path().join("files").join(path);
        assert_eq!(fs::read_to_string(path).unwrap(), text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_branch_comes_with_modes_and_links_and_without_git() {
    let server = Server::start().await;
    let app = server.repository("app.git", APP).await;
    let fetch = Fetch::of(&server.url("/app.git"));
    let checkout = fetch.run().await.unwrap();
    assert_eq!(checkout.commit, app.git(&["rev-parse", "main"]).await);
    assert_eq!(checkout.branch.as_deref(), Some("main"));
    assert_eq!((checkout.committed_at, checkout.files), (1_700_000_000, 4));
    fetch.reads("a", "two\n");
    fetch.reads("deep/link", "two\n");
    let files = fetch.dir.path().join("files");
    let mode = |path: &str| fs::metadata(files.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("a") & 0o111, mode("bin/run") & 0o100), (0, 0o100));
    assert!(!files.join(".git").exists());
    assert_eq!(fs::read_dir(fetch.dir.path()).unwrap().count(), 1);
    let packing = slipway_archive::Packing {
        leave: slipway_archive::Leave::Nothing,
        times: slipway_archive::Times::At(checkout.committed_at),
        ..slipway_archive::Packing::default()
    };
    let limits = slipway_archive::Limits::default();
    slipway_archive::pack_dir(&files, &limits, &packing, &mut std::io::sink()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_a_tag_and_a_commit_are_found_in_this_order() {
    let server = Server::start().await;
    let app = server.repository("app.git", APP).await;
    let tagged = app.git(&["rev-parse", "v1^{commit}"]).await;
    let topic = app.git(&["rev-parse", "topic"]).await;
    for (reference, commit, branch, text) in [
        ("topic", &topic, Some("topic"), "three\n"),
        ("v1", &tagged, None, "one\n"),
        (&topic, &topic, None, "three\n"),
        (&topic.to_uppercase(), &topic, None, "three\n"),
    ] {
        let fetch = Fetch::of(&server.url("/app.git")).at(reference);
        let checkout = fetch.run().await.unwrap();
        assert_eq!((&checkout.commit, checkout.branch.as_deref()), (commit, branch), "{reference}");
        fetch.reads("a", text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_in_the_middle_needs_a_server_that_hands_it_out() {
    let server = Server::start().await;
    let app =
        server.repository("app.git", &format!("{APP}; echo 4 >a; git commit -qam four")).await;
    let middle = app.git(&["rev-parse", "main^"]).await;
    let fetch = Fetch::of(&server.url("/app.git")).at(&middle);
    assert_eq!(fetch.fail().await.code, "SW-REF-MISSING");
    let bare = app.bare.to_str().unwrap();
    app.git(&["-C", bare, "config", "uploadpack.allowReachableSHA1InWant", "true"]).await;
    assert_eq!(fetch.run().await.unwrap().commit, middle);
    fetch.reads("a", "two\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_has_its_own_code() {
    let server = Server::start().await;
    server.repository("app.git", APP).await;
    server.repository("empty.git", ":").await;
    for (path, reference, code) in [
        ("/app.git", Some("nope"), "SW-REF-MISSING"),
        ("/app.git", Some("0123456789012345678901234567890123456789"), "SW-REF-MISSING"),
        ("/empty.git", None, "SW-GIT-EMPTY"),
        ("/empty.git", Some("main"), "SW-GIT-EMPTY"),
        ("/none.git", None, "SW-GIT-NOT-FOUND"),
        ("/page", None, "SW-GIT-PROTOCOL"),
        ("/broken", None, "SW-GIT-UNREACHABLE"),
    ] {
        let fetch = Fetch::of(&server.url(path));
        let fetch = if let Some(reference) = reference { fetch.at(reference) } else { fetch };
        let problem = fetch.fail().await;
        assert_eq!(problem.code, code, "{path} {reference:?}: {problem}");
        assert!(problem.hint.is_some());
    }
    let gone = Fetch::of("http://127.0.0.1:1/app.git").fail().await;
    assert_eq!(gone.code, "SW-GIT-UNREACHABLE", "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_refused_and_told() {
    let server = Server::start().await;
    let problem = Fetch::of(&server.url("/moved/app.git")).fail().await;
    assert_eq!(problem.code, "SW-GIT-REDIRECT");
    assert_eq!(problem.message, "the git server points elsewhere: `http://127.0.0.1:9/new.git`");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_repository_needs_the_right_token() {
    let server = Server::start().await;
    server.repository("auth/app.git", APP).await;
    let fetch = |token: Option<&str>| {
        let token = token.map(|it| Secret::new(it.to_owned()));
        Fetch::of(&server.url("/auth/app.git")).with(|it| it.token = token)
    };
    fetch(Some(TOKEN)).run().await.unwrap();
    let wrong = fetch(Some("wrong")).fail().await;
    assert_eq!(
        (&*wrong.code, &*wrong.message),
        ("SW-GIT-AUTH", "the git server refused the token")
    );
    let none = fetch(None).fail().await;
    assert_eq!((&*none.code, &*none.message), ("SW-GIT-AUTH", "the git server asks for a token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submodule_is_fetched_and_another_server_never_sees_the_token() {
    let (server, other) = (Server::start().await, Server::start().await);
    let lib = server.repository("auth/lib.git", "echo lib >l; git add -A; git commit -qm l").await;
    let far = other.repository("far.git", "echo far >f; git add -A; git commit -qm f").await;
    let (lib, far) = (lib.git(&["rev-parse", "main"]).await, far.git(&["rev-parse", "main"]).await);
    let script = format!(
        "{APP}
        printf '[submodule \"l\"]\npath = dep/lib\nurl = ../lib.git\n' >.gitmodules
        printf '[submodule \"f\"]\npath = far\nurl = {}\n' >>.gitmodules
        git update-index --add --cacheinfo 160000,{lib},dep/lib
        git update-index --add --cacheinfo 160000,{far},far
        git update-index --add --cacheinfo 160000,{far},nowhere
        git add .gitmodules; git commit -qm modules",
        other.url("/far.git"),
    );
    server.repository("auth/app.git", &script).await;
    let fetch = Fetch::of(&server.url("/auth/app.git"))
        .with(|it| it.token = Some(Secret::new(TOKEN.to_owned())));
    let checkout = fetch.run().await.unwrap();
    fetch.reads("dep/lib/l", "lib\n");
    fetch.reads("far/f", "far\n");
    assert_eq!(checkout.warnings, ["`nowhere` is a submodule without an address; it is empty"]);
    assert!(!server.seen_with_login().is_empty());
    assert!(other.seen_with_login().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submodule_from_elsewhere_than_the_web_is_refused() {
    let server = Server::start().await;
    for (name, url) in
        [("file", "file:///etc"), ("path", "/etc"), ("ssh", "git@github.com:a/b.git")]
    {
        let script = format!(
            "printf '[submodule \"x\"]\npath = x\nurl = {url}\n' >.gitmodules; git add -A
            git update-index --add --cacheinfo 160000,0123456789012345678901234567890123456789,x
            git commit -qm x"
        );
        let path = format!("{name}.git");
        server.repository(&path, &script).await;
        let problem = Fetch::of(&server.url(&format!("/{path}"))).fail().await;
        assert_eq!(problem.code, "SW-GIT-SUBMODULE", "{url}: {problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_limit_is_a_refusal_by_name() {
    let server = Server::start().await;
    server.repository("app.git", &format!("head -c 300000 /dev/urandom >big; {APP}")).await;
    let with = |change: fn(&mut Limits)| {
        Fetch::of(&server.url("/app.git")).with(|it| change(&mut it.limits))
    };
    let fetches = [
        with(|it| it.received_bytes = 100_000),
        with(|it| it.objects = 3),
        with(|it| it.file_bytes = 1_000),
        with(|it| it.checkout_bytes = 299_999),
        with(|it| it.entries = 3),
    ];
    for fetch in fetches {
        let problem = fetch.fail().await;
        assert_eq!(problem.code, "SW-GIT-TOO-BIG", "{problem}");
    }
    with(|it| it.received_bytes = 400_000).run().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_and_a_request_to_stop_end_it_at_once() {
    let server = Server::start().await;
    let late = Fetch::of(&server.url("/silent/app.git"))
        .with(|it| it.limits.deadline = Duration::from_millis(300));
    let start = Instant::now();
    assert_eq!(late.fail().await.code, "SW-GIT-TIMEOUT");
    assert!(start.elapsed() < Duration::from_secs(10));
    let stopped = Fetch::of(&server.url("/silent/app.git"));
    let stop = stopped.stop.clone();
    let (problem, ()) = tokio::join!(stopped.fail(), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        stop.cancel();
    });
    assert_eq!(problem.code, "SW-CANCELED");
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_may_not_be_dialled_is_not() {
    let server = Server::start().await;
    server.repository("app.git", APP).await;
    for (outbound, code) in [
        (Outbound { allow_http: true, allow_private: false }, "SW-GIT-HOST"),
        (Outbound { allow_http: false, allow_private: true }, "SW-GIT-SCHEME"),
    ] {
        let fetch = Fetch::of(&server.url("/app.git")).with(|it| it.outbound = outbound);
        assert_eq!(fetch.fail().await.code, code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_leave_the_repository_are_refused() {
    let server = Server::start().await;
    let targets = ["/etc/shadow", "/", "../x", "a/../../x", "C:x"];
    for (at, target) in targets.into_iter().enumerate() {
        let path = format!("link{at}.git");
        let script = format!("ln -s '{target}' shadow; git add -A; git commit -qm x");
        server.repository(&path, &script).await;
        let problem = Fetch::of(&server.url(&format!("/{path}"))).fail().await;
        assert_eq!(problem.code, "SW-GIT-SYMLINK", "{target}");
        assert!(problem.message.starts_with("`shadow` links "), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_only_a_forged_tree_has_are_refused() {
    let server = Server::start().await;
    let names = [".GIT", ".git", "git~1", "..", "a\\b", "a\u{7}b"];
    for (at, name) in names.into_iter().enumerate() {
        let path = format!("forged{at}.git");
        // `mktree -z` writes any name that there is.
        let script = format!(
            "id=$(echo x | git hash-object -w --stdin)
            tree=$(printf '100644 blob %s\\t%s\\0' \"$id\" '{name}' | git mktree -z)
            git update-ref refs/heads/main $(git commit-tree -m x \"$tree\")"
        );
        server.repository(&path, &script).await;
        let problem = Fetch::of(&server.url(&format!("/{path}"))).fail().await;
        let code = &*problem.code;
        assert!(matches!(code, "SW-GIT-PATH" | "SW-GIT-PROTOCOL"), "{name}: {problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_through_a_link_of_a_forged_tree() {
    let server = Server::start().await;
    // One name twice: a link to a folder, and a folder with a file to be written into it.
    let script = "
        id=$(echo evil | git hash-object -w --stdin)
        link=$(printf target | git hash-object -w --stdin)
        inner=$(printf '100644 blob %s\\tfile\\0' \"$id\" | git mktree -z)
        tree=$(printf '120000 blob %s\\tx\\0040000 tree %s\\tx\\0040000 tree %s\\ttarget\\0' \
            \"$link\" \"$inner\" \"$inner\" | git mktree -z)
        git update-ref refs/heads/main $(git commit-tree -m x \"$tree\")";
    server.repository("twice.git", script).await;
    let problem = Fetch::of(&server.url("/twice.git")).fail().await;
    assert_eq!(problem.code, "SW-GIT-PATH", "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fetches_side_by_side_do_not_mix_their_tokens() {
    let server = Server::start().await;
    server.repository("auth/app.git", APP).await;
    server.repository("app.git", APP).await;
    let good = Fetch::of(&server.url("/auth/app.git"))
        .with(|it| it.token = Some(Secret::new(TOKEN.to_owned())));
    let bad = Fetch::of(&server.url("/auth/app.git"));
    let open = Fetch::of(&server.url("/app.git")).at("topic");
    let (good, bad, open) = tokio::join!(good.run(), bad.fail(), open.run());
    assert_eq!(bad.code, "SW-GIT-AUTH");
    assert_eq!(good.unwrap().branch.as_deref(), Some("main"));
    assert_eq!(open.unwrap().branch.as_deref(), Some("topic"));
}
