use std::{collections::HashMap, time::Duration};

use bollard::models;
use futures::{StreamExt as _, TryStreamExt as _};
use slipway_engine::{
    Engine as _,
    docker::measure::{self, Way},
    logs::{LogLine, LogQuery, MAX_LINE},
};
use tokio::time::timeout;

use crate::lab::Lab;

const LONG: Duration = Duration::from_secs(120);

/// A container whose output is not rotated, which our own specs cannot ask for.
async fn unbounded(lab: &Lab, name: &str, script: &str) -> String {
    let docker = bollard::Docker::connect_with_unix_defaults().unwrap();
    let (name, command) = (lab.name(name), ["/bin/sh", "-c", script].map(str::to_owned));
    let body = models::ContainerCreateBody {
        image: Some(lab.image.to_string()),
        cmd: Some(command.to_vec()),
        labels: Some(lab.labels().into_iter().collect()),
        host_config: Some(models::HostConfig {
            network_mode: Some("none".to_owned()),
            log_config: Some(models::HostConfigLogConfig {
                typ: Some("json-file".to_owned()),
                config: Some(HashMap::from([("max-size".to_owned(), "1g".to_owned())])),
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let options =
        bollard::query_parameters::CreateContainerOptionsBuilder::default().name(&name).build();
    docker.create_container(Some(options), body).await.unwrap();
    lab.docker.start(&name).await.unwrap();
    name
}

async fn lines(lab: &Lab, name: &str, query: LogQuery) -> Vec<LogLine> {
    let all = async { lab.docker.logs(name, &query).await.unwrap().try_concat().await.unwrap() };
    timeout(LONG, all).await.unwrap()
}

fn texts(lines: &[LogLine]) -> Vec<String> {
    lines.iter().map(LogLine::text).collect()
}

fn follow() -> LogQuery {
    LogQuery { follow: true, ..LogQuery::default() }
}

#[tokio::test]
async fn a_million_lines_arrive_whole_and_in_order_on_each_way() {
    const COUNT: u64 = 1_000_000;
    let lab = Lab::open("million").await;
    let name = unbounded(&lab, "million", &format!("seq 1 {COUNT}")).await;
    let mut logs = lab.docker.logs(&name, &follow()).await.unwrap();
    let (mut next, mut bytes) = (0, 0);
    let read = async {
        while let Some(batch) = logs.next().await {
            for line in batch.unwrap() {
                next += 1;
                assert_eq!(line.text(), next.to_string());
                bytes += u64::try_from(line.bytes.len()).unwrap();
            }
        }
    };
    timeout(LONG, read).await.unwrap();
    assert_eq!(next, COUNT);
    for way in [Way::Best, Way::Socket] {
        let reading = measure::output(&lab.docker, &name, way).await.unwrap();
        assert_eq!((reading.lines, reading.bytes), (COUNT, bytes), "{way:?}");
    }
}

#[tokio::test]
async fn rotated_output_is_the_same_from_the_files_and_from_the_daemon() {
    let lab = Lab::open("rotated").await;
    // Some 40 MB of values, of which the last 20 to 30 are kept.
    let script = "seq 1 300000 | \
        awk '{ print \"a line of output that is a good deal longer than a number\", $1 }'";
    let name = lab.run(&lab.spec("rotated", script)).await;
    assert_eq!(timeout(LONG, lab.docker.wait(&name)).await.unwrap().unwrap(), 0);
    let files = measure::output(&lab.docker, &name, Way::Best).await.unwrap();
    let socket = measure::output(&lab.docker, &name, Way::Socket).await.unwrap();
    assert_eq!((files.lines, files.bytes), (socket.lines, socket.bytes));
    assert!((100_000..300_000).contains(&files.lines), "{files:?}");
    let last = lab.docker.last_lines(&name, 3).await.unwrap();
    let ends: Vec<_> =
        texts(&last).iter().map(|it| it.rsplit(' ').next().unwrap().to_owned()).collect();
    assert_eq!(ends, ["299998", "299999", "300000"]);
}

#[tokio::test]
async fn both_ways_answer_every_query_alike() {
    let lab = Lab::open("query").await;
    let script = "echo one; sleep 0.2; echo two >&2; sleep 0.2; printf 'a\"\\tb\\n'; sleep 0.2; \
        echo; sleep 0.2; head -c 40000 /dev/zero | tr '\\0' x; echo; sleep 0.2; printf end";
    let name = lab.run(&lab.spec("query", script)).await;
    // Older daemons lose a last line without end while they follow, so it must be there before.
    assert_eq!(lab.docker.wait(&name).await.unwrap(), 0);
    let followed = lines(&lab, &name, follow()).await;
    let long = "x".repeat(40_000);
    assert_eq!(texts(&followed), ["one", "two", "a\"\tb", "", &long, "end"]);
    let errors: Vec<_> = followed.iter().map(|it| it.stderr).collect();
    assert_eq!(errors, [false, true, false, false, false, false]);
    assert_eq!(lines(&lab, &name, LogQuery::default()).await, followed);
    let (second, fourth) = (followed[1].at, followed[3].at);
    let ranges = [(Some(second), None), (None, Some(fourth)), (Some(second), Some(fourth))];
    for (since, until) in ranges {
        let expected: Vec<_> = followed
            .iter()
            .filter(|it| since.is_none_or(|at| at <= it.at) && until.is_none_or(|at| it.at < at))
            .cloned()
            .collect();
        for follow in [false, true] {
            let query = LogQuery { follow, since, until, tail: None };
            assert_eq!(lines(&lab, &name, query).await, expected, "{query:?}");
        }
    }
    for tail in [0, 1] {
        let from_file =
            lines(&lab, &name, LogQuery { tail: Some(tail), ..LogQuery::default() }).await;
        let from_socket = lines(&lab, &name, LogQuery { tail: Some(tail), ..follow() }).await;
        assert_eq!(from_file, from_socket);
        assert_eq!(from_file.len(), usize::try_from(tail).unwrap());
    }
}

#[tokio::test]
async fn lines_follow_as_they_are_written() {
    let lab = Lab::open("follow").await;
    let name = lab
        .run(&lab.spec("follow", "n=0; while true; do echo $n; n=$((n+1)); sleep 0.1; done"))
        .await;
    let mut logs = lab.docker.logs(&name, &follow()).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 5 {
        let batch = timeout(Duration::from_secs(10), logs.next()).await.unwrap().unwrap();
        seen.extend(texts(&batch.unwrap()));
    }
    assert_eq!(seen[..5], ["0", "1", "2", "3", "4"]);
    // The stream ends with the container.
    lab.docker.kill(&name).await.unwrap();
    let rest = timeout(Duration::from_secs(10), logs.collect::<Vec<_>>()).await.unwrap();
    assert!(rest.into_iter().all(|it| it.is_ok()));
}

#[tokio::test]
async fn a_line_without_end_is_cut_and_loses_nothing() {
    let lab = Lab::open("endless").await;
    let script = "head -c 1000000 /dev/zero | tr '\\0' y";
    let name = lab.run(&lab.spec("endless", script)).await;
    assert_eq!(lab.docker.wait(&name).await.unwrap(), 0);
    let followed = lines(&lab, &name, follow()).await;
    let read = lines(&lab, &name, LogQuery::default()).await;
    for all in [followed, read] {
        assert!(all.iter().all(|it| it.bytes.len() <= MAX_LINE));
        assert_eq!(all.iter().map(|it| it.bytes.len()).sum::<usize>(), 1_000_000);
    }
}
