//! The time in `expiry-time=` of a key's line.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

/// Reads `YYYYMMDD` or `YYYYMMDDHHMM[SS]`, with `Z` for UTC and else in the system's time zone, as seconds of Unix time.
pub(super) fn parse(text: &str) -> Option<u64> {
    let (digits, zone) = match text.strip_suffix(['Z', 'z']) {
        Some(digits) => (digits, TimeZone::UTC),
        None => (text, TimeZone::system()),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| digits.get(from..to)?.parse::<i8>().ok();
    let time = match digits.len() {
        8 => Time::midnight(),
        12 => Time::new(part(8, 10)?, part(10, 12)?, 0, 0).ok()?,
        14 => Time::new(part(8, 10)?, part(10, 12)?, part(12, 14)?, 0).ok()?,
        _ => return None,
    };
    let date = Date::new(digits.get(..4)?.parse().ok()?, part(4, 6)?, part(6, 8)?).ok()?;
    let moment = zone.to_ambiguous_timestamp(DateTime::from_parts(date, time)).compatible().ok()?;
    u64::try_from(moment.as_second()).ok().filter(|second| *second > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_day_minute_or_second() {
        let table = [
            ("20260101Z", 1_767_225_600),
            ("202601010000Z", 1_767_225_600),
            ("20260101000001Z", 1_767_225_601),
            ("20240229Z", 1_709_164_800),
            ("20260101z", 1_767_225_600),
        ];
        for (text, seconds) in table {
            assert_eq!(parse(text), Some(seconds), "{text}");
        }
    }

    #[test]
    fn without_z_the_time_is_the_systems() {
        let local = parse("202607011200").unwrap();
        let utc = parse("202607011200Z").unwrap();
        let hours = utc.abs_diff(local) / 3600;
        assert!(hours <= 14, "{hours} hours between here and UTC");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let wrong = [
            "",
            "Z",
            "2026",
            "2026010",
            "202601011",
            "2026010100",
            "20261301Z",
            "20260230Z",
            "202601012400Z",
            "202601010060Z",
            "2026-01-01",
            "+0260101",
            "20260101ZZ",
            "19700101Z",
            "２０２６",
            "202601010000000Z",
        ];
        for text in wrong {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
