//! Messages as JSON, made from their descriptors: `snake_case` names, every field present, ids as
//! strings, RFC 3339 times, enum values as their own word (`running`). Events have the form of the
//! SSE frames.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor,
    ReflectMessage as _, Value as Field,
};
use prost_types::{Duration, Timestamp};
use serde_json::{Map, Value, json};
use slipway_proto::control::v1 as wire;

use super::when;

/// Descriptors of all messages; empty only if the committed ones were broken, which a test of
/// `slipway-proto` refuses.
static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(slipway_proto::DESCRIPTORS).unwrap_or_default());

/// A message of `slipway.control.v1` by its name.
pub(in crate::cli) fn message(name: &str, message: &impl Message) -> Value {
    let descriptor = POOL.get_message_by_name(&format!("slipway.control.v1.{name}"));
    let decoded = descriptor
        .and_then(|it| DynamicMessage::decode(it, message.encode_to_vec().as_slice()).ok());
    decoded.as_ref().map_or(Value::Null, of_message)
}

/// Several of them.
pub(in crate::cli) fn list<M: Message>(name: &str, messages: &[M]) -> Value {
    messages.iter().map(|it| message(name, it)).collect()
}

/// What went wrong.
pub(in crate::cli) fn problem(problem: &wire::Problem) -> Value {
    message("Problem", problem)
}

/// An event, as one frame.
pub(in crate::cli) fn event(event: &wire::Event) -> Value {
    let time = event.at.as_ref().and_then(when::rfc3339);
    let head = |kind: &str| {
        json!({
            "type": kind, "seq": event.seq, "time": time, "server": event.server, "phase": event.phase,
        })
    };
    let with = |kind: &str, rest: Value| {
        let mut frame = head(kind);
        if let (Some(frame), Value::Object(rest)) = (frame.as_object_mut(), rest) {
            frame.extend(rest);
        }
        frame
    };
    match &event.kind {
        Some(wire::event::Kind::Log(it)) => with("log", json!({"message": it.message})),
        Some(wire::event::Kind::Progress(it)) => with(
            "progress",
            json!({"current": it.current, "total": it.total, "unit": it.unit, "item": it.item}),
        ),
        Some(wire::event::Kind::Step(it)) => {
            with("step", json!({"state": it.state, "elapsed_ms": it.elapsed.as_ref().map(millis)}))
        }
        Some(wire::event::Kind::Done(it)) => with(
            "done",
            json!({
                "success": it.success,
                "release": it.release,
                "error": it.error.as_ref().map(problem),
                "servers": it.servers.iter().map(server).collect::<Vec<_>>(),
            }),
        ),
        None => head("unknown"),
    }
}

fn server(outcome: &wire::ServerOutcome) -> Value {
    json!({
        "id": outcome.server_id,
        "name": outcome.name,
        "ip": outcome.address,
        "success": outcome.success,
        "url": outcome.urls.first(),
        "urls": outcome.urls,
        "error": outcome.error.as_ref().map(problem),
    })
}

fn millis(length: &Duration) -> u64 {
    u64::try_from(when::from_wire(length).as_millis()).unwrap_or(u64::MAX)
}

fn of_message(message: &DynamicMessage) -> Value {
    let descriptor = message.descriptor();
    if let Some(special) = well_known(&descriptor, message) {
        return special;
    }
    let mut object = Map::new();
    for field in descriptor.fields() {
        let absent = field.supports_presence() && !message.has_field(&field);
        if absent && field.containing_oneof().is_some_and(|it| it.fields().len() > 1) {
            continue;
        }
        let value = if absent { Value::Null } else { of_value(&field, &message.get_field(&field)) };
        object.insert(field.name().to_owned(), value);
    }
    Value::Object(object)
}

/// Times as RFC 3339, durations as seconds.
fn well_known(descriptor: &MessageDescriptor, message: &DynamicMessage) -> Option<Value> {
    match descriptor.full_name() {
        "google.protobuf.Timestamp" => {
            let at: Timestamp = message.transcode_to().ok()?;
            Some(json!(when::rfc3339(&at)))
        }
        "google.protobuf.Duration" => {
            let length: Duration = message.transcode_to().ok()?;
            Some(json!(when::from_wire(&length).as_secs_f64()))
        }
        _ => None,
    }
}

fn of_value(field: &FieldDescriptor, value: &Field) -> Value {
    match value {
        Field::Bool(it) => json!(it),
        Field::I32(it) => json!(it),
        Field::I64(it) => json!(it),
        Field::U32(it) => json!(it),
        Field::U64(it) => json!(it),
        Field::F32(it) => json!(it),
        Field::F64(it) => json!(it),
        Field::String(it) => json!(it),
        Field::Bytes(it) => json!(hex::encode(it)),
        Field::EnumNumber(it) => json!(enum_word(field, *it)),
        Field::Message(it) => of_message(it),
        Field::List(it) => it.iter().map(|it| of_value(field, it)).collect(),
        Field::Map(it) => Value::Object(
            it.iter().map(|(key, value)| (map_key(key), of_value(field, value))).collect(),
        ),
    }
}

fn map_key(key: &MapKey) -> String {
    match key {
        MapKey::String(it) => it.clone(),
        MapKey::Bool(it) => it.to_string(),
        MapKey::I32(it) => it.to_string(),
        MapKey::I64(it) => it.to_string(),
        MapKey::U32(it) => it.to_string(),
        MapKey::U64(it) => it.to_string(),
    }
}

/// `DEPLOYMENT_STATE_RUNNING` of `DeploymentState` is `running`.
fn enum_word(field: &FieldDescriptor, number: i32) -> String {
    let Kind::Enum(descriptor) = field.kind() else { return number.to_string() };
    let Some(value) = descriptor.get_value(number) else { return number.to_string() };
    let prefix = descriptor.get_value(0).map(|it| it.name().replace("UNSPECIFIED", ""));
    let name = value.name();
    let word = prefix.and_then(|it| name.strip_prefix(it.as_str())).unwrap_or(name);
    word.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_message_shows_every_field_in_plain_words() {
        let app = wire::App {
            app: "web".to_owned(),
            environment: "production".to_owned(),
            release: 3,
            servers: vec!["local".to_owned()],
            deployed_at: Some(Timestamp { seconds: 1_800_000_000, nanos: 5_000_000 }),
            last_deployment: wire::DeploymentState::Succeeded.into(),
            ..Default::default()
        };
        expect![[r#"
            {
              "app": "web",
              "deployed_at": "2027-01-15T08:00:00.005Z",
              "environment": "production",
              "last_deployment": "succeeded",
              "release": 3,
              "servers": [
                "local"
              ],
              "stopped": false,
              "tags": [],
              "urls": []
            }"#]]
        .assert_eq(&format!("{:#}", message("App", &app)));
    }

    #[test]
    fn an_event_has_the_form_of_its_frame() {
        let event = wire::Event {
            seq: 18,
            at: Some(Timestamp { seconds: 1_800_000_000, nanos: 0 }),
            server: "local".to_owned(),
            phase: "switch".to_owned(),
            kind: Some(wire::event::Kind::Step(wire::StepEvent {
                state: "done".to_owned(),
                elapsed: Some(Duration { seconds: 0, nanos: 41_000_000 }),
            })),
        };
        expect![[r#"{"elapsed_ms":41,"phase":"switch","seq":18,"server":"local","state":"done","time":"2027-01-15T08:00:00.000Z","type":"step"}"#]]
            .assert_eq(&super::event(&event).to_string());
    }

    #[test]
    fn every_message_that_is_printed_has_a_descriptor() {
        for name in
            ["App", "AppOnServer", "Deployment", "Release", "Server", "User", "ApiToken", "Problem"]
        {
            assert!(
                POOL.get_message_by_name(&format!("slipway.control.v1.{name}")).is_some(),
                "{name}"
            );
        }
    }
}
