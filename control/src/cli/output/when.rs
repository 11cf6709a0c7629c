//! Times and durations for people; RFC 3339 for programs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Local, NaiveDate, NaiveDateTime, SecondsFormat, TimeZone as _, Utc};
use prost_types::{Duration as WireDuration, Timestamp};

use super::Error;

/// A time in RFC 3339, in UTC, to the millisecond.
pub(in crate::cli) fn rfc3339(at: &Timestamp) -> Option<String> {
    let at = to_utc(at)?;
    Some(at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// The time of day where the person is.
pub(in crate::cli) fn clock_time(at: &Timestamp) -> String {
    to_utc(at).map(|it| it.with_timezone(&Local).format("%H:%M:%S").to_string()).unwrap_or_default()
}

/// `3 min ago`, `in 2 h`; `-` for never.
pub(in crate::cli) fn relative(at: Option<&Timestamp>, now: SystemTime) -> String {
    let Some(at) = at.and_then(to_system) else { return "-".to_owned() };
    match now.duration_since(at) {
        Ok(ago) if ago < Duration::from_secs(2) => "just now".to_owned(),
        Ok(ago) => format!("{} ago", rough(ago)),
        Err(ahead) => format!("in {}", rough(ahead.duration())),
    }
}

/// One unit: `45 s`, `3 min`, `2 h`, `5 d`.
pub(in crate::cli) fn rough(length: Duration) -> String {
    let secs = length.as_secs();
    match secs {
        0..=59 => format!("{secs} s"),
        60..=3_599 => format!("{} min", secs / 60),
        3_600..=172_799 => format!("{} h", secs / 3_600),
        _ => format!("{} d", secs / 86_400),
    }
}

/// What a stopwatch shows: `41 ms`, `3.2 s`, `2 min 5 s`.
pub(in crate::cli) fn elapsed(length: Duration) -> String {
    let secs = length.as_secs();
    match secs {
        0 if length < Duration::from_millis(1) => "0 ms".to_owned(),
        0 => format!("{} ms", length.as_millis()),
        1..=59 => format!("{:.1} s", length.as_secs_f64()),
        60..=3_599 => format!("{} min {} s", secs / 60, secs % 60),
        _ => format!("{} h {} min", secs / 3_600, secs % 3_600 / 60),
    }
}

/// A duration of the wire; nothing when it is negative.
pub(in crate::cli) fn from_wire(length: &WireDuration) -> Duration {
    Duration::try_from(*length).unwrap_or_default()
}

/// A length on the command line: `90s`, `10m`, `2h`, `7d`, or seconds.
pub(in crate::cli) fn parse_length(text: &str) -> Result<Duration, String> {
    let digits = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "ms" => return number.parse().map(Duration::from_millis).map_err(|_| hint(text)),
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(hint(text)),
    };
    let number: u64 = number.parse().map_err(|_| hint(text))?;
    number.checked_mul(scale).map(Duration::from_secs).ok_or_else(|| hint(text))
}

fn hint(text: &str) -> String {
    format!("`{text}` is not a length of time; write 90s, 10m, 2h or 7d")
}

/// A moment on the command line: a length before now, a date, or RFC 3339.
pub(in crate::cli) fn parse_moment(text: &str, now: SystemTime) -> Result<Timestamp, Error> {
    if let Ok(ago) = parse_length(text) {
        return Ok(Timestamp::from(now.checked_sub(ago).unwrap_or(UNIX_EPOCH)));
    }
    let local = |it: NaiveDateTime| Local.from_local_datetime(&it).earliest();
    let at = DateTime::parse_from_rfc3339(text)
        .ok()
        .map(|it| it.with_timezone(&Local))
        .or_else(|| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S").ok().and_then(local))
        .or_else(|| {
            NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0).and_then(local)
        });
    match at {
        Some(at) => Ok(Timestamp {
            seconds: at.timestamp(),
            nanos: i32::try_from(at.timestamp_subsec_nanos()).unwrap_or(0),
        }),
        None => Err(Error::Usage(format!(
            "`{text}` is not a moment; write 10m for ten minutes ago, 2026-01-31, or 2026-01-31T12:00:00Z"
        ))),
    }
}

fn to_utc(at: &Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).ok()?)
}

fn to_system(at: &Timestamp) -> Option<SystemTime> {
    let after = Duration::new(u64::try_from(at.seconds).ok()?, u32::try_from(at.nanos).ok()?);
    UNIX_EPOCH.checked_add(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    #[test]
    fn relative_times_use_one_unit() {
        let now = UNIX_EPOCH + NOW;
        let at = |secs: i64| Some(Timestamp { seconds: 1_800_000_000 + secs, nanos: 0 });
        assert_eq!(relative(at(-1).as_ref(), now), "just now");
        assert_eq!(relative(at(-90).as_ref(), now), "1 min ago");
        assert_eq!(relative(at(-7_300).as_ref(), now), "2 h ago");
        assert_eq!(relative(at(-500_000).as_ref(), now), "5 d ago");
        assert_eq!(relative(at(3_700).as_ref(), now), "in 1 h");
        assert_eq!(relative(None, now), "-");
    }

    #[test]
    fn a_stopwatch_is_as_exact_as_it_is_useful() {
        assert_eq!(elapsed(Duration::from_millis(41)), "41 ms");
        assert_eq!(elapsed(Duration::from_millis(3_200)), "3.2 s");
        assert_eq!(elapsed(Duration::from_secs(125)), "2 min 5 s");
    }

    #[test]
    fn moments_are_lengths_dates_or_rfc_3339() {
        let now = UNIX_EPOCH + NOW;
        assert_eq!(parse_moment("10m", now).unwrap().seconds, 1_800_000_000 - 600);
        assert_eq!(parse_moment("2027-01-15T08:00:00Z", now).unwrap().seconds, 1_800_000_000);
        assert_eq!(parse_moment("yesterday", now).unwrap_err().exit_code(), 2);
        assert!(parse_length("10 m").is_err());
        assert!(parse_length("99999999999999999999d").is_err());
    }
}
