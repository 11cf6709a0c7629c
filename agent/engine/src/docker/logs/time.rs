//! Times as Docker writes them: RFC 3339 in UTC with up to nine digits of a second.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time in a text, if it is one of this kind. Times before 1970 are 1970.
pub(in crate::docker) fn parse(text: &[u8]) -> Option<SystemTime> {
    let (date, rest) = text.split_at_checked(19)?;
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2] =
        date
    else {
        return None;
    };
    let year = number(&[y1, y2, y3, y4])?;
    let (month, day) = (number(&[m1, m2])?, number(&[d1, d2])?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (hour, minute, second) = (number(&[h1, h2])?, number(&[n1, n2])?, number(&[s1, s2])?);
    let fraction = match rest {
        [b'Z'] => 0,
        [b'.', digits @ .., b'Z'] if digits.len() <= 9 => {
            let missing = u32::try_from(9 - digits.len()).ok()?;
            number(digits)? * 10_i64.pow(missing)
        }
        _ => return None,
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    let since = Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(fraction).ok()?);
    Some(UNIX_EPOCH + since)
}

/// Seconds and nanoseconds since 1970, as Docker's parameters want them.
pub(in crate::docker) fn stamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:09}", since.as_secs(), since.subsec_nanos())
}

fn number(digits: &[u8]) -> Option<i64> {
    let mut value = 0;
    for digit in digits {
        let digit = digit.checked_sub(b'0').filter(|it| *it <= 9)?;
        value = value * 10 + i64::from(digit);
    }
    Some(value)
}

/// Days since 1970 of a date of the Gregorian calendar. Years begin in March, so that the odd day
/// comes last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn other_texts_are_not_times() {
        for text in [
            "",
            "2026-11-21",
            "2026-11-21T12:00:00",
            "2026-11-21T12:00:00+01:00",
            "2026-13-21T12:00:00Z",
            "2026-11-21 12:00:00Z",
            "2026-11-21T12:00:00.0123456789Z",
            "2026-11-2xT12:00:00Z",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn times_are_those_of_the_calendar(secs in 0_i64..4_000_000_000, nanos in 0_u32..1_000_000_000) {
            let time: DateTime<Utc> = DateTime::from_timestamp(secs, nanos).unwrap();
            let text = time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
            prop_assert_eq!(parse(text.as_bytes()), Some(SystemTime::from(time)));
            let text = time.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true);
            prop_assert_eq!(parse(text.as_bytes()), Some(SystemTime::from(time)));
        }
    }
}
