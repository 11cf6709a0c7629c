//! Where requests go while routes change.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::Request;
use proptest::{collection::vec, prelude::*};
use tokio::{io::AsyncReadExt as _, task::JoinSet, time::sleep};

use super::harness::{App, Rig, closed, echo, scripted, websocket};
use crate::{Error, Route, Switch as _};

const LONG: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_switch_moves_new_requests_and_leaves_running_ones() {
    let rig = Rig::start().await;
    let (old, new) = (App::start("old").await, App::start("new").await);
    rig.set(1, &[old.address]).await;
    let slow = rig.get("/slow");
    let switch = async {
        while rig.client.status().await.unwrap().current("web").unwrap().in_flight == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        rig.set(2, &[new.address]).await;
        assert_eq!(rig.get("/").await, "new");
        assert_eq!(rig.client.drained("web", 1, Duration::ZERO).await.unwrap(), 1);
        assert_eq!(rig.client.drained("web", 1, LONG).await.unwrap(), 0);
    };
    let (slow, ()) = tokio::join!(slow, switch);
    assert_eq!(slow, "old");
}

#[tokio::test]
async fn no_request_fails_while_routes_change_and_old_apps_vanish() {
    let rig = Arc::new(Rig::start().await);
    let mut app = App::start("0").await;
    rig.set(0, &[app.address]).await;
    let mut clients = JoinSet::new();
    let asked = Arc::new(AtomicU64::new(0));
    for nth in 0..16 {
        let (rig, asked) = (Arc::clone(&rig), Arc::clone(&asked));
        clients.spawn(async move {
            loop {
                let (status, body) = match nth % 2 {
                    0 => rig.ask(Request::get("/"), "").await,
                    _ => rig.ask(Request::post("/echo"), "body").await,
                };
                assert_eq!(status, 200, "{body}");
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for generation in 1..30 {
        let before = asked.load(Ordering::Relaxed);
        let next = App::start("next").await;
        rig.set(generation, &[next.address]).await;
        assert_eq!(rig.client.drained("web", generation - 1, LONG).await.unwrap(), 0);
        // Ends the old app with all its connections, at once.
        app = next;
        while asked.load(Ordering::Relaxed) < before + 50 {
            assert!(clients.try_join_next().is_none(), "a client gave up");
            sleep(Duration::from_millis(1)).await;
        }
    }
    assert!(clients.try_join_next().is_none(), "a client gave up");
    drop(app);
}

#[tokio::test]
async fn an_unreachable_container_is_passed_over() {
    let rig = Rig::start().await;
    let app = App::start("app").await;
    let gone = closed().await;
    rig.set(1, &[gone, app.address]).await;
    for _ in 0..6 {
        assert_eq!(rig.ask(Request::post("/echo"), "body").await, (200, "body".to_owned()));
        assert_eq!(rig.get("/").await, "app");
    }
    rig.set(2, &[gone]).await;
    assert_eq!(rig.ask(Request::get("/"), "").await.0, 502);
    rig.set(3, &[]).await;
    assert_eq!(rig.ask(Request::get("/"), "").await.0, 503);
    let errors = rig.client.status().await.unwrap().current("web").unwrap().errors;
    assert_eq!(errors, 1);
    rig.client.remove("web").await.unwrap();
    assert_eq!(rig.ask(Request::get("/"), "").await.0, 503);
}

#[tokio::test]
async fn replicas_share_the_load() {
    let rig = Rig::start().await;
    let apps = [App::start("0").await, App::start("1").await, App::start("2").await];
    rig.set(1, &apps.each_ref().map(|it| it.address)).await;
    let mut counts = [0_u32; 3];
    for _ in 0..30 {
        let name: usize = rig.get("/").await.parse().unwrap();
        counts[name] += 1;
    }
    assert_eq!(counts, [10, 10, 10]);
    // A busy one gets no more.
    let busy = rig.ask(Request::get("/hang"), "");
    tokio::pin!(busy);
    let rest = async {
        sleep(Duration::from_millis(50)).await;
        let mut seen = Vec::new();
        for _ in 0..10 {
            seen.push(rig.get("/").await);
        }
        seen.sort_unstable();
        seen.dedup();
        seen.len()
    };
    tokio::select! {
        it = busy => panic!("it answered {it:?}"),
        seen = rest => assert_eq!(seen, 2),
    }
}

#[tokio::test]
async fn an_upgraded_connection_counts_until_it_is_closed() {
    let rig = Rig::start().await;
    let (old, new) = (App::start("old").await, App::start("new").await);
    rig.set(1, &[old.address]).await;
    let mut socket = websocket(&rig.config.listen).await;
    rig.set(2, &[new.address]).await;
    echo(&mut socket).await;
    let status = rig.client.status().await.unwrap();
    let retired = &status.apps[0].retired[0];
    assert_eq!((retired.generation, retired.in_flight, retired.upgraded), (1, 1, 1));
    assert_eq!(rig.client.drained("web", 1, Duration::from_millis(20)).await.unwrap(), 1);
    drop(socket);
    assert_eq!(rig.client.drained("web", 1, LONG).await.unwrap(), 0);
}

#[tokio::test]
async fn a_cut_closes_what_is_left() {
    let rig = Rig::start().await;
    let (old, new) = (App::start("old").await, App::start("new").await);
    rig.set(1, &[old.address]).await;
    let mut socket = websocket(&rig.config.listen).await;
    let hanging = rig.ask(Request::get("/hang"), "");
    let cut = async {
        while rig.client.status().await.unwrap().current("web").unwrap().in_flight < 2 {
            sleep(Duration::from_millis(5)).await;
        }
        let current = rig.client.cut("web", 1).await.unwrap_err();
        assert!(matches!(current, Error::Current { generation: 1, .. }), "{current}");
        rig.set(2, &[new.address]).await;
        assert_eq!(rig.client.cut("web", 1).await.unwrap(), 2);
        assert_eq!(rig.client.drained("web", 1, LONG).await.unwrap(), 0);
    };
    let ((status, body), ()) = tokio::join!(hanging, cut);
    assert_eq!((status, body.contains("stopped")), (503, true), "{body}");
    assert_eq!(socket.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!(rig.get("/").await, "new");
}

#[tokio::test]
async fn a_kept_connection_that_the_app_closes_fails_no_get() {
    let rig = Rig::start().await;
    // Says that it keeps the connection, and closes it.
    let (lying, task) = scripted("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    rig.set(1, &[lying]).await;
    assert_eq!(rig.get("/").await, "ok");
    task.await.unwrap();
    // Whether the switch notices in time or not: it tries a new connection, which is refused.
    assert_eq!(rig.ask(Request::get("/"), "").await.0, 502);
}

#[tokio::test]
async fn a_post_is_never_sent_twice() {
    let rig = Rig::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    rig.set(1, &[listener.local_addr().unwrap()]).await;
    let count = async {
        let mut connections = 0_u32;
        // Reads each request and closes without an answer.
        while let Ok(Ok((mut stream, _))) =
            tokio::time::timeout(Duration::from_millis(300), listener.accept()).await
        {
            connections += 1;
            assert_ne!(stream.read(&mut [0; 4096]).await.unwrap(), 0);
        }
        connections
    };
    let (answer, connections) = tokio::join!(rig.ask(Request::post("/"), "x"), count);
    assert_eq!((answer.0, connections), (502, 1));
}

/// One step of a random run.
#[derive(Clone, Debug)]
enum Step {
    /// Set generation n, on app n modulo 3.
    Set(u64),
    Get,
    Post,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![(0..6_u64).prop_map(Step::Set), Just(Step::Get), Just(Step::Post)];
    vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Requests and changes run side by side; each answer must come from a generation that was
    /// current at some time between the request's start and its end.
    #[test]
    fn every_answer_comes_from_a_route_that_was_current_meanwhile(steps in steps()) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let rig = Arc::new(Rig::start().await);
            let apps = [App::start("0").await, App::start("1").await, App::start("2").await];
            let addresses: Vec<SocketAddr> = apps.iter().map(|it| it.address).collect();
            // Began, completed: between the two, either side of a change is right.
            let (began, done) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicU64::new(1)));
            let history = Arc::new(std::sync::Mutex::new(vec![0_u64]));
            rig.set(0, &addresses[..1]).await;
            let mut requests = JoinSet::new();
            for step in steps {
                let request = match step {
                    Step::Set(generation) => {
                        history.lock().unwrap().push(generation);
                        began.fetch_add(1, Ordering::SeqCst);
                        let target = addresses[usize::try_from(generation % 3).unwrap()];
                        rig.client.set("web", &Route::new(generation, [target])).await.unwrap();
                        done.fetch_add(1, Ordering::SeqCst);
                        continue;
                    }
                    Step::Get => Request::get("/"),
                    Step::Post => Request::post("/"),
                };
                let (rig, began, done) = (Arc::clone(&rig), Arc::clone(&began), Arc::clone(&done));
                let history = Arc::clone(&history);
                requests.spawn(async move {
                    let first = usize::try_from(done.load(Ordering::SeqCst)).unwrap() - 1;
                    let (status, name) = rig.ask(request, "").await;
                    let last = usize::try_from(began.load(Ordering::SeqCst)).unwrap();
                    let seen: Vec<_> = history.lock().unwrap()[first..last].to_vec();
                    let allowed = seen.iter().any(|it| (it % 3).to_string() == name);
                    assert!(status == 200 && allowed, "{status} {name} of {seen:?}");
                });
            }
            while let Some(outcome) = requests.join_next().await {
                outcome.unwrap();
            }
        });
    }
}
