//! One deployment of each source, and what a person does with an app afterwards.

use slipway_tests::{
    docker,
    git::GitServer,
    lab::Lab,
    registry::{self, Registry},
    sample,
};

#[tokio::test]
async fn an_app_goes_live_from_a_folder_and_is_managed_from_there_on() {
    let lab = Lab::start().await.unwrap();
    let app = lab.scratch().join("web");
    sample::hello_of_version(&app, "1").unwrap();
    let path = app.to_str().unwrap().to_owned();
    let vars = [("KEY_OF_THE_APP", "hunter2")];
    let args = ["deploy", &path, "-n", "web", "--health-path", "/up", "-e", "GREETING=ahoy"];
    let args: Vec<&str> =
        args.iter().chain(&["--secret", "KEY_OF_THE_APP", "--tag", "t"]).copied().collect();
    let said = lab.slipway_with(&vars, &args).await.unwrap();
    said.done().unwrap();
    assert!(!said.stderr.contains("hunter2") && !said.stdout.contains("hunter2"), "{said}");

    let place = lab.place("web").await.unwrap();
    assert_eq!(said.stdout.trim(), format!("http://{}", place.host), "{said}");
    assert_eq!(lab.get(&place, "/version").await.unwrap(), (200, "1\n".to_owned()));
    let env = |name: &str| format!("/env?name={name}");
    assert!(lab.get(&place, &env("GREETING")).await.unwrap().1.contains("ahoy"));
    // The sample shows only a digest of what sounds secret.
    let digest = "f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7";
    assert!(lab.get(&place, &env("KEY_OF_THE_APP")).await.unwrap().1.contains(digest));

    sample::set_version(&app, "2").unwrap();
    lab.deploy(&[&path, "-n", "web", "--health-path", "/up"]).await.unwrap();
    assert_eq!(lab.get(&place, "/version").await.unwrap().1, "2\n");
    assert_eq!(lab.app("web").await.unwrap().release, 2);

    lab.slipway(&["rollback", "web", "--check"]).await.unwrap().done().unwrap();
    lab.slipway(&["rollback", "web"]).await.unwrap().done().unwrap();
    assert_eq!(lab.get(&place, "/version").await.unwrap().1, "1\n");
    assert!(lab.get(&place, &env("GREETING")).await.unwrap().1.contains("ahoy"));

    let logs = lab.slipway(&["logs", "web", "-n", "5", "--json"]).await.unwrap();
    let lines = logs.objects().unwrap();
    assert!(!lines.is_empty() && lines.iter().all(|it| it["server"] == "local"), "{logs}");
    for verb in ["stop", "start", "restart"] {
        lab.slipway(&[verb, "web"]).await.unwrap().done().unwrap();
        let answer = lab.get(&place, "/version").await;
        let up = answer.is_ok_and(|it| it == (200, "1\n".to_owned()));
        assert_eq!(up, verb != "stop", "after {verb}");
    }
    for verb in
        [&["ps"][..], &["inspect", "web"], &["releases", "web"], &["server", "health"], &["doctor"]]
    {
        lab.slipway(verb).await.unwrap().done().unwrap();
    }
    lab.slipway(&["rm", "web", "--volumes"]).await.unwrap().done().unwrap();
    assert!(lab.get(&place, "/version").await.map_or(true, |it| it.0 >= 400));
    lab.slipway(&["inspect", "web"]).await.unwrap().refused("SW-APP-MISSING").unwrap();
}

#[tokio::test]
async fn an_app_goes_live_from_a_private_repository() {
    let lab = Lab::start().await.unwrap();
    let git = GitServer::start(lab.scratch().join("git"), Some("s3cret".to_owned())).await.unwrap();
    let repository = git.repository("shop").await.unwrap();
    let app = lab.scratch().join("shop");
    sample::hello_of_version(&app, "one").unwrap();
    let first = repository.commit(&app, "main", "one").await.unwrap();
    sample::set_version(&app, "two").unwrap();
    repository.commit(&app, "main", "two").await.unwrap();
    repository.tag("v1", &first).await.unwrap();

    let url = git.url("shop");
    let token = [("SLIPWAY_GIT_TOKEN", "s3cret")];
    let stranger = lab.slipway(&["deploy", "--git", &url]).await.unwrap();
    stranger.refused("SW-GIT").unwrap();
    for (git_ref, version) in [("v1", "one"), ("main", "two"), (first.as_str(), "one")] {
        let args = ["deploy", "--git", &url, "--ref", git_ref, "--health-path", "/up"];
        let said = lab.slipway_with(&token, &args).await.unwrap();
        said.done().unwrap();
        assert!(!format!("{said}").contains("s3cret"), "{said}");
        let place = lab.place("shop").await.unwrap();
        assert_eq!(lab.get(&place, "/version").await.unwrap().1.trim(), version, "{git_ref}");
    }
    let missing =
        lab.slipway_with(&token, &["deploy", "--git", &url, "--ref", "nope"]).await.unwrap();
    missing.refused("SW-REF-MISSING").unwrap();
}

#[tokio::test]
async fn an_app_goes_live_from_an_image_behind_a_login() {
    let lab = Lab::start().await.unwrap();
    let registry = Registry::start(&lab.scratch().join("registry"), true).await.unwrap();
    // An image that serves by itself: the site, built by a deployment of its folder.
    let site = sample::site();
    lab.deploy(&[site.to_str().unwrap(), "-n", "site", "--health-path", "/up"]).await.unwrap();
    let said = lab.slipway(&["releases", "site", "--json"]).await.unwrap();
    let releases: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let built = releases[0]["image_id"].as_str().unwrap();
    let docker = docker::connect().await.unwrap();
    let image = registry.image("my/site:1.0");
    let login = Some((registry::USER, registry::PASSWORD));
    docker::push(&docker, built, &image, login).await.unwrap();
    docker::remove_image(&docker, &image).await;

    let args = ["deploy", "--image", &image, "-n", "shown", "-p", "8080"];
    lab.slipway(&args).await.unwrap().refused("SW-IMAGE").unwrap();
    let vars = [
        ("SLIPWAY_REGISTRY_USER", registry::USER),
        ("SLIPWAY_REGISTRY_PASSWORD", registry::PASSWORD),
    ];
    let said = lab.slipway_with(&vars, &args).await.unwrap();
    said.done().unwrap();
    assert!(!format!("{said}").contains(registry::PASSWORD), "{said}");
    let place = lab.place("shown").await.unwrap();
    assert!(lab.get(&place, "/").await.unwrap().1.contains("A static site"));
}

#[tokio::test]
async fn a_domain_reaches_its_app_and_no_other() {
    let lab = Lab::start().await.unwrap();
    let site = sample::site();
    let site = site.to_str().unwrap();
    lab.deploy(&[site, "-n", "site", "--domain", "site.example.com"]).await.unwrap();
    let place = lab.place("site").await.unwrap();
    assert!(lab.get(&place, "/").await.unwrap().1.contains("A static site"));
    let stranger = slipway_tests::lab::Place { host: "other.example.com".to_owned(), ..place };
    assert!(lab.get(&stranger, "/").await.map_or(true, |it| it.0 >= 400));
}
