//! What happens to our containers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::models;
use futures::{StreamExt as _, stream};
use http::Method;

use super::{
    container::health,
    wire::{Ask, Lines, Wire},
};
use crate::{
    error::Result,
    event::{Event, Events, What},
    label,
};

/// Follows from `since` on, so that nothing is missed between the call and the first read: the
/// daemon remembers its last 256 events.
pub(super) async fn follow(wire: &Wire, since: SystemTime) -> Result<Events> {
    let since = super::logs::time::stamp(since);
    let filters = serde_json::json!({ "type": ["container"], "label": [label::APP] }).to_string();
    let ask = Ask::new("tell what happens", Method::GET, "/events")
        .query([("since", since), ("filters", filters)]);
    let lines: Lines<models::EventMessage> = wire.stream(ask).await?;
    Ok(stream::unfold(Some(lines), next).boxed())
}

async fn next(
    lines: Option<Lines<models::EventMessage>>,
) -> Option<(Result<Event>, Option<Lines<models::EventMessage>>)> {
    let mut lines = lines?;
    loop {
        match lines.next().await {
            Ok(Some(message)) => {
                if let Some(event) = event(message) {
                    return Some((Ok(event), Some(lines)));
                }
            }
            Ok(None) => return None,
            Err(error) => return Some((Err(error), None)),
        }
    }
}

/// The event, if it is one that matters.
fn event(message: models::EventMessage) -> Option<Event> {
    let actor = message.actor?;
    let mut attributes = actor.attributes.unwrap_or_default();
    let action = message.action?;
    let what = match action.as_str() {
        "create" => What::Created,
        "start" => What::Started,
        "oom" => What::OutOfMemory,
        "die" => {
            let code = attributes.get("exitCode").and_then(|it| it.parse().ok());
            What::Died { exit_code: code.unwrap_or(-1) }
        }
        "destroy" => What::Removed,
        _ => What::Health(health(action.strip_prefix("health_status: ")?)?),
    };
    let nanos = message.time_nano.and_then(|it| u64::try_from(it).ok()).unwrap_or_default();
    let name = attributes.remove("name").unwrap_or_default();
    attributes.retain(|key, _| !matches!(key.as_str(), "exitCode" | "image" | "execDuration"));
    Some(Event {
        at: UNIX_EPOCH + Duration::from_nanos(nanos),
        id: actor.id?,
        name,
        labels: attributes.into_iter().collect(),
        what,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_events_that_matter_come_through() {
        let parse = |action: &str| {
            let text = format!(
                r#"{{"Type":"container","Action":"{action}","Actor":{{"ID":"f00","Attributes":
                {{"name":"slipway-web-web-1-1","exitCode":"137","dev.slipway.app":"web"}}}},
                "timeNano":1795262400000000001}}"#
            );
            event(serde_json::from_str(&text).unwrap())
        };
        let died = parse("die").unwrap();
        assert_eq!(died.what, What::Died { exit_code: 137 });
        assert_eq!(
            died.labels.into_iter().collect::<Vec<_>>(),
            [(label::APP.into(), "web".into())]
        );
        let sick = parse("health_status: unhealthy").unwrap();
        assert_eq!(sick.what, What::Health(crate::container::Health::Unhealthy));
        assert!(parse("exec_start: sh -c true").is_none());
    }
}
