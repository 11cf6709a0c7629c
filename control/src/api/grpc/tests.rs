//! What belongs to another user looks exactly like what does not exist, in every method.

use std::sync::Arc;

use slipway_proto::{
    control::v1::{
        self as wire, app_service_server::AppService as _,
        deployment_service_server::DeploymentService as _,
        server_service_server::ServerService as _, token_service_server::TokenService as _,
        user_service_server::UserService as _,
    },
    policy::{self, Role},
};
use slipway_store::User;
use slipway_transport::{Caller, Peer, guard::Subject};
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

use super::{user as users, *};
use crate::{
    deploy::tests::harness::{Control, World, image, user},
    pki::Authority,
};

/// Methods that name nothing that could be another user's, or that no user may call.
const NAMELESS: &[&str] = &[
    "AppService/ListApps",
    "DeploymentService/Deploy",
    "DeploymentService/ListDeployments",
    "EnrollmentService/Enroll",
    "ServerService/AddServer",
    "ServerService/ListServers",
    "SessionService/Session",
    "TokenService/CreateToken",
    "TokenService/ListTokens",
    "TokenService/RevokeToken",
    "UserService/CreateUser",
    "UserService/GetMe",
    "UserService/ListUsers",
];

async fn surface(control: &Control) -> Surface {
    let authority = Authority::open(&control.store, &control.vault).await.unwrap();
    let users = Users::new(control.store.clone(), authority.pin().clone());
    let servers = Servers::new(
        control.store.clone(),
        control.agents.clone(),
        Arc::clone(&control.keys),
        authority,
        std::time::Duration::from_secs(60),
    );
    Surface {
        deployments: control.deployments.clone(),
        apps: control.apps(),
        servers,
        users,
        install: control.store.install().to_owned(),
        tasks: TaskTracker::new(),
        stop: CancellationToken::new(),
    }
}

fn by<T>(user: &User, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let subject = Subject::User {
        user_id: user.id.to_string(),
        name: user.name.clone(),
        token_id: "T".to_owned(),
    };
    let peer = Peer::Unix { uid: 0 };
    request.extensions_mut().insert(Caller { role: Role::User, read_only: false, subject, peer });
    request
}

/// Checks that both answers are the same `NOT_FOUND`.
fn same<T>(
    method: &str,
    foreign: Result<Response<T>, Status>,
    missing: Result<Response<T>, Status>,
) {
    let foreign = foreign.err().unwrap_or_else(|| panic!("{method}: another user's was found"));
    let missing = missing.err().unwrap_or_else(|| panic!("{method}: nothing was found"));
    assert_eq!(missing.code(), Code::NotFound, "{method}: {missing}");
    assert_eq!(foreign.code(), missing.code(), "{method}");
    assert_eq!(foreign.message(), missing.message(), "{method}");
    assert_eq!(foreign.details(), missing.details(), "{method}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "one entry for each method of the contract")]
fn another_users_things_look_like_none_in_every_method() {
    let world = World::new();
    world.live(async |control| {
        let ann = control.user.clone();
        let bob = user(&control.store, "bob").await;
        let server = control.server(&ann, "otter").await;
        let started = control.deploy(image("web")).await;
        assert!(control.done(started.id).await.success);
        let surface = surface(&control).await;
        let deployments = deployment::Service(surface.clone());
        let apps = app::Service(surface.clone());
        let servers = server::Service(surface.clone());
        let (own, none) = (started.id.to_string(), Uuid::now_v7().to_string());
        let mut tried: Vec<&str> = NAMELESS.to_vec();

        macro_rules! both {
            ($service:ident.$method:ident as $name:literal, $build:expr) => {
                tried.push($name);
                let build = $build;
                let foreign = $service.$method(by(&bob, build(true))).await;
                let missing = $service.$method(by(&bob, build(false))).await;
                same($name, foreign, missing);
            };
        }
        let id = |foreign: bool| if foreign { own.clone() } else { none.clone() };
        both!(deployments.watch as "DeploymentService/Watch", |it| wire::WatchRequest {
            deployment_id: id(it),
            ..Default::default()
        });
        both!(deployments.get_deployment as "DeploymentService/GetDeployment", |it| {
            wire::GetDeploymentRequest { deployment_id: id(it) }
        });
        both!(deployments.cancel_deployment as "DeploymentService/CancelDeployment", |it| {
            wire::CancelDeploymentRequest { deployment_id: id(it) }
        });
        let target = |foreign: bool| {
            let app = if foreign { "web" } else { "nothing" }.to_owned();
            Some(wire::AppTarget { app, ..Default::default() })
        };
        both!(apps.get_app as "AppService/GetApp", |it| wire::GetAppRequest { target: target(it) });
        both!(apps.stop_app as "AppService/StopApp", |it| {
            wire::StopAppRequest { target: target(it) }
        });
        both!(apps.start_app as "AppService/StartApp", |it| {
            wire::StartAppRequest { target: target(it) }
        });
        both!(apps.restart_app as "AppService/RestartApp", |it| {
            wire::RestartAppRequest { target: target(it) }
        });
        both!(apps.remove_app as "AppService/RemoveApp", |it| {
            wire::RemoveAppRequest { target: target(it), volumes: true }
        });
        both!(apps.list_releases as "AppService/ListReleases", |it| {
            wire::ListReleasesRequest { target: target(it) }
        });
        both!(apps.rollback as "AppService/Rollback", |it| {
            wire::RollbackRequest { target: target(it), ..Default::default() }
        });
        both!(apps.logs as "AppService/Logs", |it| {
            wire::LogsRequest { target: target(it), ..Default::default() }
        });
        let ids = [server.id.to_string(), "otter".to_owned()];
        for foreign in &ids {
            let name = |it: bool| if it { foreign.clone() } else { none.clone() };
            both!(servers.get_server as "ServerService/GetServer", |it| {
                wire::GetServerRequest { server: name(it) }
            });
            both!(servers.remove_server as "ServerService/RemoveServer", |it| {
                wire::RemoveServerRequest { server: name(it), force: true }
            });
            both!(servers.check_health as "ServerService/CheckHealth", |it| {
                wire::CheckHealthRequest { server: name(it) }
            });
            both!(servers.issue_operator_certificate as "ServerService/IssueOperatorCertificate", |it| {
                wire::IssueOperatorCertificateRequest { server: name(it), ..Default::default() }
            });
            let mut request = image("web");
            request.servers = vec![foreign.clone()];
            let foreign = control.deployments.start(&bob, request.clone()).await.unwrap_err();
            request.servers = vec![none.clone()];
            let missing = control.deployments.start(&bob, request).await.unwrap_err();
            assert_eq!(foreign, missing);
        }
        for policy in policy::POLICIES {
            if let Some(method) = policy.method.strip_prefix("/slipway.control.v1.") {
                assert!(tried.contains(&method), "{method} is not tried here");
            }
        }
    });
}

#[test]
fn lists_hold_only_the_callers_own() {
    let world = World::new();
    world.live(async |control| {
        let ann = control.user.clone();
        let bob = user(&control.store, "bob").await;
        control.server(&ann, "otter").await;
        let started = control.deploy(image("web")).await;
        assert!(control.done(started.id).await.success);
        let surface = surface(&control).await;
        let apps = app::Service(surface.clone());
        let servers = server::Service(surface.clone());
        let deployments = deployment::Service(surface);
        let count = async |user: &User| {
            let list = by(user, wire::ListDeploymentsRequest::default());
            (
                apps.list_apps(by(user, wire::ListAppsRequest {})).await.unwrap(),
                servers.list_servers(by(user, wire::ListServersRequest {})).await.unwrap(),
                deployments.list_deployments(list).await.unwrap(),
            )
        };
        let count = async |user: &User| {
            let (apps, servers, deployments) = count(user).await;
            (
                apps.into_inner().apps.len(),
                servers.into_inner().servers.len(),
                deployments.into_inner().deployments.len(),
            )
        };
        assert_eq!(count(&ann).await, (1, 1, 1));
        assert_eq!(count(&bob).await, (0, 0, 0));
    });
}

#[test]
fn tokens_are_made_listed_and_revoked_by_their_user_alone() {
    let world = World::new();
    world.live(async |control| {
        let (ann, bob) = (control.user.clone(), user(&control.store, "bob").await);
        let service = users::Service(surface(&control).await);
        let request = wire::CreateTokenRequest { name: "ci".to_owned(), ..Default::default() };
        let made = service.create_token(by(&ann, request)).await.unwrap().into_inner();
        assert!(made.secret.starts_with("swp_"));
        let token_id = made.token.unwrap().token_id;
        let revoke = || wire::RevokeTokenRequest { token_id: token_id.clone() };
        let names = async || {
            let list = service.list_tokens(by(&ann, wire::ListTokensRequest {})).await.unwrap();
            list.into_inner().tokens.into_iter().map(|it| it.name).collect::<Vec<_>>()
        };
        service.revoke_token(by(&bob, revoke())).await.unwrap();
        assert_eq!(names().await, ["ci", "first"], "another user's token stays");
        service.revoke_token(by(&ann, revoke())).await.unwrap();
        service.revoke_token(by(&ann, revoke())).await.unwrap();
        assert_eq!(names().await, ["first"]);

        let long = prost_types::Duration { seconds: 366 * 86_400, nanos: 0 };
        let request = wire::CreateTokenRequest { ttl: Some(long), ..Default::default() };
        let refused = service.create_token(by(&ann, request)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        let me = service.get_me(by(&ann, wire::GetMeRequest {})).await.unwrap().into_inner();
        assert_eq!(me.user.unwrap().name, "ann");
    });
}

#[test]
fn a_server_is_added_with_a_token_checked_and_forgotten() {
    let world = World::new();
    world.live(async |control| {
        let ann = control.user.clone();
        let service = server::Service(surface(&control).await);
        let add = |name: &str| wire::AddServerRequest { name: name.to_owned(), ttl: None };
        let made = service.add_server(by(&ann, add(""))).await.unwrap().into_inner();
        assert!(made.join_token.starts_with("SWJ1-"));
        let name = made.server.unwrap().name;
        let twice = service.add_server(by(&ann, add(&name))).await.unwrap_err();
        assert_eq!(twice.code(), Code::AlreadyExists);
        let check = |server: &str| wire::CheckHealthRequest { server: server.to_owned() };
        let health = service.check_health(by(&ann, check(&name))).await.unwrap().into_inner();
        assert!(health.error.contains("SW-SERVER-NOT-ENROLLED"), "{}", health.error);

        control.server(&ann, "otter").await;
        let health = service.check_health(by(&ann, check("otter"))).await.unwrap().into_inner();
        assert!(health.error.is_empty() && health.health.unwrap().healthy);
        assert!(!health.server.unwrap().stale);
        let started = control.deploy({
            let mut request = image("web");
            request.servers = vec!["otter".to_owned()];
            request
        });
        let id = started.await.id;
        assert!(control.done(id).await.success);
        let remove = |force| wire::RemoveServerRequest { server: "otter".to_owned(), force };
        let refused = service.remove_server(by(&ann, remove(false))).await.unwrap_err();
        assert!(refused.message().contains("SW-SERVER-IN-USE"), "{refused}");
        service.remove_server(by(&ann, remove(true))).await.unwrap();
        let gone = service.check_health(by(&ann, check("otter"))).await.unwrap_err();
        assert_eq!(gone.code(), Code::NotFound);
    });
}
