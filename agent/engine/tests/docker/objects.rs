use slipway_engine::{
    Engine as _, Error, Object,
    container::{ContainerSpec, Mount},
    label,
    network::{NetworkSpec, Subnet},
    volume::Volume,
};

use crate::lab::{Lab, docker};

#[tokio::test]
async fn docker_describes_itself() {
    let info = docker().info().await.unwrap();
    docker().ping().await.unwrap();
    assert!(!info.version.is_empty() && info.api.starts_with("1."), "{info:?}");
    assert!(info.root.is_absolute() && 0 < info.cpus && 0 < info.memory_bytes);
}

#[tokio::test]
async fn a_network_is_made_once_and_its_addresses_are_its_own() {
    let lab = Lab::open("network").await;
    let spec = NetworkSpec { name: lab.name(""), subnet: lab.subnet, labels: lab.labels() };
    let first = lab.docker.ensure_network(&spec).await.unwrap();
    assert_eq!(lab.docker.ensure_network(&spec).await.unwrap(), first);
    assert_eq!((first.subnets.as_slice(), &first.labels), (&[lab.subnet][..], &lab.labels()));
    assert!(lab.docker.networks().await.unwrap().contains(&first));
    let smaller = Subnet::new(lab.subnet.base(), 28).unwrap();
    let other = NetworkSpec { subnet: smaller, ..spec.clone() };
    assert!(matches!(lab.docker.ensure_network(&other).await, Err(Error::Taken { .. })));
    let overlapping = NetworkSpec { name: lab.name("second"), ..other };
    let refused = lab.docker.ensure_network(&overlapping).await;
    assert!(matches!(refused, Err(Error::AddressTaken { .. })), "{refused:?}");
    let name = lab.run(&lab.spec("web", "sleep 300")).await;
    let busy = lab.docker.remove_network(&spec.name).await;
    assert!(matches!(busy, Err(Error::InUse { what: Object::Network, .. })), "{busy:?}");
    lab.docker.remove(&name).await.unwrap();
    lab.docker.remove_network(&spec.name).await.unwrap();
    assert!(lab.docker.networks().await.unwrap().iter().all(|it| it.name != spec.name));
}

#[tokio::test]
async fn containers_of_an_app_find_each_other_by_name() {
    let lab = Lab::open("alias").await;
    let db = lab.spec("db", "while true; do echo pong | nc -l -p 5432; done");
    lab.run(&db).await;
    // Asked of Docker's own resolver, because a static program cannot use the C library's.
    let address = db.network.address;
    let script = format!(
        "nslookup db 127.0.0.11 | grep -qw {address} || exit 9; \
         for i in 1 2 3 4 5 6 7 8 9; do nc -w 2 {address} 5432 && exit 0; sleep 0.2; done; exit 1"
    );
    let name = lab.run(&lab.spec("web", &script)).await;
    assert_eq!(
        lab.docker.wait(&name).await.unwrap(),
        0,
        "{:?}",
        lab.docker.last_lines(&name, 20).await
    );
    assert_eq!(lab.docker.last_lines(&name, 1).await.unwrap()[0].text(), "pong");
}

#[tokio::test]
async fn a_volume_outlives_its_containers() {
    let lab = Lab::open("volume").await;
    let volume = Volume { name: lab.name("data"), labels: lab.labels() };
    lab.docker.ensure_volume(&volume).await.unwrap();
    lab.docker.ensure_volume(&volume).await.unwrap();
    let mounts = vec![Mount { volume: volume.name.clone(), path: "/data".to_owned() }];
    let with = |spec: ContainerSpec| ContainerSpec { mounts: mounts.clone(), ..spec };
    let first = lab.run(&with(lab.spec("write", "echo kept > /data/x"))).await;
    assert_eq!(lab.docker.wait(&first).await.unwrap(), 0);
    lab.docker.remove(&first).await.unwrap();
    let second = lab.run(&with(lab.spec("read", "cat /data/x"))).await;
    assert_eq!(lab.docker.wait(&second).await.unwrap(), 0);
    assert_eq!(lab.docker.last_lines(&second, 1).await.unwrap()[0].text(), "kept");
    let busy = lab.docker.remove_volume(&volume.name).await;
    assert!(matches!(busy, Err(Error::InUse { what: Object::Volume, .. })), "{busy:?}");
    let mut stranger = volume.clone();
    stranger.labels.insert(label::APP.to_owned(), "another".to_owned());
    assert!(matches!(lab.docker.ensure_volume(&stranger).await, Err(Error::Taken { .. })));
    lab.docker.remove(&second).await.unwrap();
    assert_eq!(lab.docker.volumes(&lab.ours()).await.unwrap(), std::slice::from_ref(&volume));
    lab.docker.remove_volume(&volume.name).await.unwrap();
    assert!(lab.docker.volumes(&lab.ours()).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_image_goes_with_its_last_name_and_not_while_it_is_needed() {
    let lab = Lab::open("image").await;
    let request = lab.request("one");
    let id = lab.build(&request, &lab.dockerfile("ENV ONE=1")).await.0.unwrap();
    let second = format!("slipway-{}/two:kept", lab.key);
    lab.docker.tag(&id, &second).await.unwrap();
    assert_eq!(lab.docker.image(&second).await.unwrap().id, id);
    let listed = lab.docker.images(&lab.ours()).await.unwrap();
    assert!(listed.iter().any(|it| it.id == id && it.tags.contains(&second)), "{listed:?}");
    lab.docker.remove_image(&second).await.unwrap();
    let spec = ContainerSpec { image: id.clone(), ..lab.spec("user", "sleep 300") };
    let name = lab.run(&spec).await;
    let busy = lab.docker.remove_image(id.as_str()).await;
    assert!(matches!(busy, Err(Error::InUse { what: Object::Image, .. })), "{busy:?}");
    lab.docker.remove(&name).await.unwrap();
    lab.docker.remove_image(id.as_str()).await.unwrap();
    assert!(lab.docker.image(&request.tag).await.unwrap_err().is_missing());
    let gone = lab.docker.tag(&id, &second).await;
    assert_eq!(gone.unwrap_err().code(), "SW-IMAGE-MISSING");
}
