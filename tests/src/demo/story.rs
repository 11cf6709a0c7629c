//! The steps, in order.

use anyhow::{Context as _, Result, ensure};
use slipway_host::exec::Output;

use super::Stage;
use crate::{
    base, docker,
    git::GitServer,
    load::{Load, Plan},
    registry::Registry,
    sample,
};

/// Plays it all.
pub(super) async fn play(stage: &Stage) -> Result<()> {
    let tell = stage.tell;
    tell.step("Making base images from this machine's Debian packages, without a registry");
    let docker = docker::connect().await?;
    base::ensure(&docker, &base::cache()).await?;
    tell.good(&format!("{} and {} are here", base::PYTHON, base::BUSYBOX));

    tell.step("Starting a control plane, and this machine as its server");
    stage.show(&["dev", "up"]).await?;
    stage.show(&["server", "health"]).await?;
    tell.good("control plane, agent, traffic switch and nginx run, and the agent is enrolled");

    let code = code(stage).await?;
    git(stage).await?;
    image(stage, &docker).await?;
    redeploy(stage, &code).await?;
    fail(stage, &code).await?;
    rollback(stage, &code).await?;
    summary(stage).await
}

/// The address that a deployment printed.
fn url(output: &Output) -> Result<String> {
    output.stdout.lines().next().map(str::to_owned).context("the deployment printed no address")
}

async fn code(stage: &Stage) -> Result<String> {
    stage.tell.step(
        "Deploying the sample app from a folder: packed, uploaded, built, checked, switched to",
    );
    let app = stage.dir.join("hello");
    sample::hello_of_version(&app, "1")?;
    let app = app.display().to_string();
    let output = stage.show(&["deploy", &app, "-n", "hello", "--health-path", "/up"]).await?;
    let url = url(&output)?;
    stage.expect(&url, "/", "It floats.").await?;
    stage.expect(&url, "/version", "1").await?;
    Ok(url)
}

async fn git(stage: &Stage) -> Result<()> {
    stage.tell.step("Deploying it from a git repository over smart HTTP");
    let server = GitServer::start(stage.dir.join("git"), None).await?;
    let repository = server.repository("hello").await?;
    let app = stage.dir.join("from-git");
    sample::hello_of_version(&app, "git")?;
    let commit = repository.commit(&app, "main", "Say hello").await?;
    repository.tag("v1", &commit).await?;
    let address = server.url("hello");
    let args =
        ["deploy", "--git", &address, "--ref", "v1", "-n", "hello-git", "--health-path", "/up"];
    let output = stage.show(&args).await?;
    stage.expect(&url(&output)?, "/version", "git").await
}

async fn image(stage: &Stage, docker: &bollard::Docker) -> Result<()> {
    stage.tell.step("Deploying it as an image from a registry");
    let registry = Registry::start(&stage.dir.join("registry"), false).await?;
    let image = registry.image("hello/app:1");
    let built = serving_image(stage).await?;
    docker::push(docker, &built, &image, None).await?;
    docker::remove_image(docker, &image).await;
    let args =
        ["deploy", "--image", &image, "-n", "hello-image", "-p", "8080", "-e", "VERSION=image"];
    let output = stage.show(&args).await?;
    stage.expect(&url(&output)?, "/version", "image").await
}

/// The image that the code deployment built.
async fn serving_image(stage: &Stage) -> Result<String> {
    let output = stage.slipway(&["releases", "hello", "--json"]).await?;
    let releases: serde_json::Value =
        serde_json::from_str(&output.stdout).context("read the releases")?;
    let image = releases.pointer("/0/image_id").and_then(serde_json::Value::as_str);
    image.map(str::to_owned).context("the release names no image")
}

async fn redeploy(stage: &Stage, url: &str) -> Result<()> {
    let tell = stage.tell;
    tell.step("Deploying version 2 while clients ask all the time");
    let app = stage.dir.join("hello");
    sample::set_version(&app, "2")?;
    let load = Load::start(Plan::LIGHT, Stage::address(url)?, "localhost");
    let app = app.display().to_string();
    let deployed = stage.show(&["deploy", &app, "-n", "hello", "--health-path", "/up"]).await;
    let tally = load.stop().await;
    deployed?;
    let versions: Vec<String> = tally
        .versions
        .iter()
        .map(|(version, count)| format!("{count} by version {version}"))
        .collect();
    tell.good(&format!("{} requests answered ({})", tally.answered, versions.join(", ")));
    ensure!(tally.failed == 0, "{} requests failed: {:?}", tally.failed, tally.failures);
    tell.good("0 requests failed, among them POSTs and requests that take 5 seconds");
    stage.expect(url, "/version", "2").await
}

async fn fail(stage: &Stage, url: &str) -> Result<()> {
    let tell = stage.tell;
    tell.step("Deploying a version that crashes at its start");
    let app = stage.dir.join("hello");
    sample::set_version(&app, "3")?;
    let app = app.display().to_string();
    let args = ["deploy", &app, "-n", "hello", "--health-path", "/up", "-e", "MISBEHAVE=crash"];
    tell.command(&args);
    let output = stage.try_slipway(&args).await?;
    ensure!(
        output.status.code() == Some(1),
        "the deployment should have failed:\n{}",
        output.stderr
    );
    let error = output.stderr.find("error:").and_then(|at| output.stderr.get(at..));
    tell.quote(error.unwrap_or(&output.stderr));
    tell.good("refused, with the reason and the container's last lines");
    stage.expect(url, "/version", "2").await
}

async fn rollback(stage: &Stage, url: &str) -> Result<()> {
    stage.tell.step("Going back to release 1");
    stage.show(&["rollback", "hello", "1"]).await?;
    stage.expect(url, "/version", "1").await
}

async fn summary(stage: &Stage) -> Result<()> {
    let tell = stage.tell;
    let list = stage.slipway(&["ls"]).await?;
    let grpcurl = stage.slipway(&["server", "grpcurl", "local"]).await?;
    tell.line("");
    tell.line(&format!(
        "All of it worked, in {:.0} s. What runs now:",
        tell.elapsed().as_secs_f64()
    ));
    tell.line("");
    tell.quote(&list.stdout);
    tell.line("");
    tell.line("Where to look (with `make demo KEEP=1` it stays; `make demo-down` removes it):");
    tell.line("");
    let dir = stage.dir.display();
    tell.quote(&format!(
        "export XDG_CONFIG_HOME={dir} XDG_DATA_HOME={dir} PATH={}:$PATH",
        stage.bin().display()
    ));
    tell.quote("slipway ls                     what runs, and where it answers");
    tell.quote("slipway logs hello -f          what the app prints");
    tell.quote("slipway deployments            everything that was deployed, with its reason when it failed");
    tell.quote("slipway deploy -n mine DIR     your own app");
    tell.quote("slipway doctor                 is everything in order?");
    tell.line("");
    tell.line("And the agent itself, over mutual TLS, with a certificate that holds for an hour:");
    tell.line("");
    tell.quote(grpcurl.stdout.trim());
    Ok(())
}
