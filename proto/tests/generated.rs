//! The committed code is what the protos say. `SLIPWAY_UPDATE=1 cargo test -p slipway-proto`
//! writes it anew.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use prost_reflect::{DescriptorPool, DynamicMessage, ExtensionDescriptor, MethodDescriptor, Value};

const PROTOS: &[&str] = &[
    "slipway/policy/v1/policy.proto",
    "slipway/agent/v1/app.proto",
    "slipway/agent/v1/container.proto",
    "slipway/agent/v1/deploy.proto",
    "slipway/agent/v1/image.proto",
    "slipway/agent/v1/node.proto",
    "slipway/agent/v1/spec.proto",
    "slipway/control/v1/app.proto",
    "slipway/control/v1/deployment.proto",
    "slipway/control/v1/enrollment.proto",
    "slipway/control/v1/server.proto",
    "slipway/control/v1/session.proto",
    "slipway/control/v1/user.proto",
];

/// Messages that carry secrets: their `Debug` is in src/hidden.rs.
const SECRET: &[&str] = &[
    ".slipway.agent.v1.AppSpec",
    ".slipway.agent.v1.GitSource",
    ".slipway.agent.v1.ImageSource",
    ".slipway.agent.v1.PullImageRequest",
    ".slipway.control.v1.EnrollRequest",
    ".slipway.control.v1.AddServerResponse",
    ".slipway.control.v1.IssueOperatorCertificateResponse",
    ".slipway.control.v1.CreateUserResponse",
    ".slipway.control.v1.CreateTokenResponse",
];

#[test]
fn the_committed_code_is_what_the_protos_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = generate(root);
    let committed = root.join("src/generated");
    if update() {
        for (name, bytes) in &made {
            fs::write(committed.join(name), bytes).unwrap();
        }
        return;
    }
    for (name, bytes) in &made {
        let have = fs::read(committed.join(name)).unwrap_or_default();
        assert!(
            have == *bytes,
            "src/generated/{name} is stale: run `SLIPWAY_UPDATE=1 cargo test -p slipway-proto`"
        );
    }
}

#[test]
fn every_proto_file_is_listed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for package in ["policy", "agent", "control"] {
        for entry in fs::read_dir(root.join("slipway").join(package).join("v1")).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
    found.sort();
    let mut listed: Vec<_> = PROTOS.iter().map(|it| (*it).to_owned()).collect();
    listed.sort();
    assert_eq!(found, listed);
}

#[expect(clippy::disallowed_methods, reason = "a switch of the test itself")]
fn update() -> bool {
    std::env::var_os("SLIPWAY_UPDATE").is_some()
}

/// Every generated file, by name.
fn generate(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut compiler = protox::Compiler::new([root]).unwrap();
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(PROTOS).unwrap();
    let set = compiler.file_descriptor_set();
    let descriptor = compiler.encode_file_descriptor_set();

    let out = tempdir();
    tonic_prost_build::configure()
        .bytes(".slipway")
        .skip_debug(SECRET)
        .out_dir(&out)
        .emit_rerun_if_changed(false)
        .compile_fds(set)
        .unwrap();
    let mut made = BTreeMap::new();
    for entry in fs::read_dir(&out).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if !name.starts_with("slipway.policy") {
            made.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    fs::remove_dir_all(&out).unwrap();

    made.insert("policies.rs".to_owned(), policies(&descriptor).into_bytes());
    made.insert("descriptor.bin".to_owned(), descriptor);
    made
}

fn tempdir() -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("slipway-proto-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// The policy table, read from the method options. Fails for a method without a policy.
fn policies(descriptor: &[u8]) -> String {
    let pool = DescriptorPool::decode(descriptor).unwrap();
    let extension = pool.get_extension_by_name("slipway.policy.v1.policy").unwrap();
    let mut rows = BTreeMap::new();
    for service in pool.services() {
        for method in service.methods() {
            let path = format!("/{}/{}", service.full_name(), method.name());
            rows.insert(path.clone(), row(&path, &method, &extension));
        }
    }
    let mut text = String::from("&[\n");
    for row in rows.values() {
        text.push_str(row);
    }
    text.push_str("]\n");
    text
}

fn row(path: &str, method: &MethodDescriptor, extension: &ExtensionDescriptor) -> String {
    let options = method.options();
    assert!(options.has_extension(extension), "{path} has no policy");
    let policy = options.get_extension(extension);
    let policy: &DynamicMessage = policy.as_message().unwrap();
    let roles = policy.get_field_by_name("roles").unwrap();
    let roles: Vec<i32> =
        roles.as_list().unwrap().iter().filter_map(Value::as_enum_number).collect();
    assert!(!roles.is_empty(), "{path} names no role");
    assert!(!roles.contains(&0), "{path} names ROLE_UNSPECIFIED");
    let effect = policy.get_field_by_name("effect").unwrap().as_enum_number().unwrap();
    let effect = match effect {
        1 => "Effect::Read",
        2 => "Effect::Write",
        other => panic!("{path} has effect {other}"),
    };
    let mut text = String::new();
    write!(text, "    Policy {{ method: {path:?}, roles: &[").unwrap();
    let names: Vec<_> = roles
        .iter()
        .map(|it| match it {
            1 => "Role::Anyone",
            2 => "Role::Control",
            3 => "Role::Agent",
            4 => "Role::Operator",
            5 => "Role::LocalRoot",
            6 => "Role::User",
            7 => "Role::Admin",
            other => panic!("{path} names role {other}"),
        })
        .collect();
    writeln!(text, "{}], effect: {effect} }},", names.join(", ")).unwrap();
    text
}
