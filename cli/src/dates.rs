//! Dates as users write them, and as OSTree prints them.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use crate::failure::{Failure, Result};

/// Reads a date as GNU `date` does: `@SECONDS`, RFC 3339, `2024-01-31 12:00:00 +0100`, `now`,
/// `3 days ago`. Without a zone it is local time.
///
/// Returns seconds since 1970 UTC; those before are negative numbers in two's complement, as OSTree
/// stores them.
pub(crate) fn parse(text: &str) -> Result<u64> {
    let date = parse_datetime::parse_datetime(text).ok();
    let seconds = date.map(|date| date.unix_epoch_second());
    let seconds = seconds.ok_or_else(|| Failure::new(format!("Could not parse '{text}'")))?;
    Ok(seconds.cast_unsigned())
}

/// Returns the time now, in seconds since 1970 UTC.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Returns the time of what is made now: `$SOURCE_DATE_EPOCH` if it is set, for reproducible builds.
pub(crate) fn build_time() -> Result<u64> {
    let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH") else {
        return Ok(now());
    };
    let text = text.to_string_lossy();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match (text.parse::<i64>(), digits) {
        (Ok(seconds), true) => Ok(seconds.unsigned_abs()),
        (Err(_), true) => Err(Failure::new(
            "Parsing SOURCE_DATE_EPOCH: Numerical result out of range",
        )),
        (_, false) => Err(Failure::new(format!(
            "Failed to convert SOURCE_DATE_EPOCH: '{text}' is not a number of seconds since 1970"
        ))),
    }
}

fn timestamp(seconds: u64) -> Option<Timestamp> {
    Timestamp::from_second(seconds.cast_signed()).ok()
}

/// Returns a time as in `2026-11-25T15:33:25Z`.
pub(crate) fn iso(seconds: u64) -> String {
    match timestamp(seconds) {
        Some(date) => date.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        None => seconds.to_string(),
    }
}

/// Returns `2024-01-31 12:00:00 +0000`, the form of `log` and `show`.
pub(crate) fn utc(seconds: u64) -> String {
    match timestamp(seconds) {
        Some(date) => date.strftime("%Y-%m-%d %H:%M:%S +0000").to_string(),
        None => seconds.to_string(),
    }
}

/// Returns `2024-01-31T12:00:00+01`, local time with as much of the offset as it needs: the form of
/// `summary --view`.
pub(crate) fn local(seconds: u64) -> String {
    let Some(date) = timestamp(seconds) else {
        return seconds.to_string();
    };
    let date = date.to_zoned(TimeZone::system());
    format!(
        "{}{}",
        date.strftime("%Y-%m-%dT%H:%M:%S"),
        offset(date.offset())
    )
}

/// Returns `Wed Jan 31 12:00:00 2024`, local time: the form in which keys and their signatures are told.
pub(crate) fn locale(seconds: u64) -> String {
    let Some(date) = timestamp(seconds) else {
        return seconds.to_string();
    };
    let date = date.to_zoned(TimeZone::system());
    date.strftime("%a %b %e %H:%M:%S %Y").to_string()
}

fn offset(offset: Offset) -> String {
    let seconds = offset.seconds();
    let sign = if seconds < 0 { '-' } else { '+' };
    let seconds = seconds.unsigned_abs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (hours, 0, 0) => format!("{sign}{hours:02}"),
        (hours, minutes, 0) => format!("{sign}{hours:02}:{minutes:02}"),
        (hours, minutes, seconds) => format!("{sign}{hours:02}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_gnu_date_reads_them() {
        for (text, seconds) in [
            ("@1000", 1000),
            ("2020-01-02 03:04:05 +0100", 1_577_930_645),
            ("2020-01-02T02:04:05Z", 1_577_930_645),
            ("Thu, 02 Jan 2020 02:04:05 +0000", 1_577_930_645),
            ("1970-01-01 00:16:40 UTC", 1000),
            (
                "November 05 1955 00:00 UTC",
                (-446_774_400_i64).cast_unsigned(),
            ),
        ] {
            assert_eq!(parse(text).unwrap(), seconds, "{text}");
        }
        let week = parse("1 week ago").unwrap();
        assert!((now() - week).abs_diff(7 * 86400) <= 3600, "{week}");
        assert!(parse("yesterday").unwrap() < parse("now").unwrap());
    }

    #[test]
    fn what_is_no_date_is_refused() {
        let failure = parse("foo").unwrap_err();
        assert_eq!(failure.to_string(), "Could not parse 'foo'");
    }

    #[test]
    fn dates_are_printed_in_utc_and_never_fail() {
        assert_eq!(utc(1_577_930_645), "2020-01-02 02:04:05 +0000");
        assert_eq!(
            utc((-446_774_400_i64).cast_unsigned()),
            "1955-11-05 00:00:00 +0000"
        );
        let far = u64::MAX / 2;
        assert_eq!(utc(far), far.to_string());
    }

    #[test]
    fn an_offset_is_as_long_as_it_must_be() {
        let of = |seconds| offset(Offset::from_seconds(seconds).unwrap());
        assert_eq!(of(0), "+00");
        assert_eq!(of(19800), "+05:30");
        assert_eq!(of(-3600), "-01");
    }
}
