//! Little-endian fields of a record, and the times in it.

/// A record of fixed layout. What lies past its end reads as 0.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn u16(self, at: usize) -> u16 {
        self.0.get(at..).and_then(|it| it.first_chunk()).map_or(0, |it| u16::from_le_bytes(*it))
    }

    pub(super) fn u32(self, at: usize) -> u32 {
        self.0.get(at..).and_then(|it| it.first_chunk()).map_or(0, |it| u32::from_le_bytes(*it))
    }

    /// The body of an extra field.
    pub(super) fn extra(self, id: u16) -> Option<Self> {
        let mut rest = self.0;
        while !rest.is_empty() {
            let header = Fields(rest);
            let (body, next) = rest.get(4..)?.split_at_checked(usize::from(header.u16(2)))?;
            if header.u16(0) == id {
                return Some(Self(body));
            }
            rest = next;
        }
        None
    }

    /// When the entry was changed, in seconds since the epoch: the extended timestamp, else the DOS
    /// one, which has no time zone and is taken as UTC.
    pub(super) fn modified(self, extra: Self) -> u64 {
        const EXTENDED_TIMESTAMP: u16 = 0x5455;
        match extra.extra(EXTENDED_TIMESTAMP) {
            Some(body) if body.u16(0) & 1 == 1 && body.0.len() >= 5 => u64::from(body.u32(1)),
            _ => dos_time(self.u16(14), self.u16(12)),
        }
    }
}

/// A DOS date and time as seconds since the epoch.
fn dos_time(date: u16, time: u16) -> u64 {
    let (year, month, day) =
        (1980 + u64::from(date >> 9), u64::from(date >> 5 & 15), u64::from(date & 31));
    let (hour, minute) = (u64::from(time >> 11), u64::from(time >> 5 & 63));
    // Days since the epoch of a date in the Gregorian calendar, with the year beginning in March.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day;
    // 719,469 of them lie before 1970-01-01, counted thus.
    days.saturating_sub(719_469) * 86_400 + hour * 3_600 + minute * 60 + u64::from(time & 31) * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dos_times_are_seconds_since_the_epoch() {
        assert_eq!(dos_time(1 << 5 | 1, 0), 315_532_800); // 1980-01-01
        let (date, time) = (0x585d, 0x63d5);
        assert_eq!(dos_time(date, time), 1_709_209_842); // 2024-02-29 12:30:42
        assert_eq!(dos_time(0, 0), 312_768_000); // Nonsense in, something out.
    }
}
