//! What a request asks for, and what of a file answers it. Pure.

use std::time::{Duration, SystemTime};

use hyper::HeaderMap;
use hyper::header::{HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE};

use crate::answer::{decimal, is_strong, percent_decode};

/// The last second that can be written as an HTTP date: the end of the year 9999.
const DATE_SECONDS_MAX: u64 = 253_402_300_799;

/// Returns the path below the root that a request's path means; `None` if it can mean none.
///
/// Slashes in a row count as one. A part `.` or `..`, a slash or a zero byte in disguise, and what
/// is not UTF-8 are refused.
pub(super) fn file_path(request_path: &str) -> Option<String> {
    let mut path = String::new();
    for part in request_path.split('/').filter(|part| !part.is_empty()) {
        let part = String::from_utf8(percent_decode(part.as_bytes())).ok()?;
        if part == "." || part == ".." || part.contains(['/', '\0']) {
            return None;
        }
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(&part);
    }
    // A path that ends in a slash is that of a directory.
    (!path.is_empty() && !request_path.ends_with('/')).then_some(path)
}

/// What is known of a file before it is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    /// How long it is.
    pub(super) total_bytes: u64,
    /// Its entity tag, quotes included.
    pub(super) tag: &'a str,
    /// When it was changed, in whole seconds.
    pub(super) modified: Option<SystemTime>,
}

/// What to answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// That it is unchanged.
    NotModified,
    /// All of it.
    Whole,
    /// The bytes from the first to the last.
    Part(u64, u64),
    /// That it has no such bytes.
    NoSuchRange,
}

/// Decides what to answer to a `GET` with these headers.
pub(super) fn plan(headers: &HeaderMap, facts: &Facts<'_>) -> Plan {
    if is_unchanged(headers, facts) {
        return Plan::NotModified;
    }
    let Some(range) = text(headers, &RANGE).filter(|_| range_applies(headers, facts)) else {
        return Plan::Whole;
    };
    match parse_range(range) {
        None => Plan::Whole,
        Some(range) => range.of(facts.total_bytes),
    }
}

/// Returns the time as HTTP can say it: in whole seconds, and within its calendar.
pub(super) fn http_time(time: SystemTime) -> Option<SystemTime> {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    let possible = seconds <= DATE_SECONDS_MAX;
    possible.then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn is_unchanged(headers: &HeaderMap, facts: &Facts<'_>) -> bool {
    let mut tags = headers.get_all(IF_NONE_MATCH).iter().peekable();
    if tags.peek().is_some() {
        return tags.filter_map(|t| t.to_str().ok()).any(|list| {
            let mut each = list.split(',').map(str::trim);
            each.any(|tag| tag == "*" || tag.trim_start_matches("W/") == facts.tag)
        });
    }
    let since = text(headers, &IF_MODIFIED_SINCE).and_then(|t| httpdate::parse_http_date(t).ok());
    since
        .zip(facts.modified)
        .is_some_and(|(since, modified)| modified <= since)
}

fn range_applies(headers: &HeaderMap, facts: &Facts<'_>) -> bool {
    match headers.get(IF_RANGE).map(|version| version.to_str()) {
        None => true,
        Some(Err(_)) => false,
        Some(Ok(tag)) if is_strong(tag) => tag == facts.tag,
        Some(Ok(date)) => {
            let date = httpdate::parse_http_date(date).ok();
            date.is_some() && date == facts.modified
        }
    }
}

/// A range as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Range {
    /// From a byte to a byte, or to the end.
    From(u64, Option<u64>),
    /// The last so many bytes.
    Last(u64),
}

impl Range {
    fn of(self, total_bytes: u64) -> Plan {
        let end = match total_bytes.checked_sub(1) {
            Some(end) => end,
            None => return Plan::NoSuchRange,
        };
        match self {
            Self::From(first, last) if first <= end => {
                Plan::Part(first, last.map_or(end, |last| last.min(end)))
            }
            Self::Last(count) if count > 0 => Plan::Part(total_bytes.saturating_sub(count), end),
            _ => Plan::NoSuchRange,
        }
    }
}

/// Reads one range; several, or what is not well formed, are as good as none asked for.
fn parse_range(value: &str) -> Option<Range> {
    let (unit, range) = value.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    match range.trim().split_once('-')? {
        ("", count) => Some(Range::Last(decimal(count)?)),
        (first, "") => Some(Range::From(decimal(first)?, None)),
        (first, last) => {
            let (first, last) = (decimal(first)?, decimal(last)?);
            (first <= last).then_some(Range::From(first, Some(last)))
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(pairs: &[(HeaderName, &str)]) -> Plan {
        let pairs = pairs.iter().map(|(n, v)| (n.clone(), v.parse().unwrap()));
        let facts = Facts {
            total_bytes: 10,
            tag: "\"v1\"",
            modified: httpdate::parse_http_date(THEN).ok(),
        };
        plan(&pairs.collect(), &facts)
    }

    const BEFORE: &str = "Tue, 15 Nov 1994 08:12:30 GMT";
    const THEN: &str = "Tue, 15 Nov 1994 08:12:31 GMT";
    const AFTER: &str = "Tue, 15 Nov 1994 08:12:32 GMT";

    #[test]
    fn paths_stay_below_the_root() {
        let path = |text| file_path(text).unwrap();
        assert_eq!(path("/refs/heads/os"), "refs/heads/os");
        assert_eq!(
            path("//refs///heads/m%C3%BCller%20x"),
            "refs/heads/müller x"
        );
        assert_eq!(path("/a%252e"), "a%2e");
        assert_eq!(path("/..a/.lock"), "..a/.lock");
        for bad in [
            "",
            "/",
            "//",
            "/a/",
            "/../a",
            "/a/../b",
            "/a/..",
            "/%2e%2e/a",
            "/.%2E/a",
            "/./a",
            "/a%2Fb",
            "/a%00b",
            "/%ff",
        ] {
            assert_eq!(file_path(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn one_range_is_answered_and_others_are_ignored() {
        for (range, expected) in [
            ("bytes=0-", Plan::Part(0, 9)),
            ("bytes=3-5", Plan::Part(3, 5)),
            ("bytes=3-99", Plan::Part(3, 9)),
            ("bytes=9-", Plan::Part(9, 9)),
            ("bytes=-4", Plan::Part(6, 9)),
            ("bytes=-99", Plan::Part(0, 9)),
            ("bytes=10-", Plan::NoSuchRange),
            ("bytes=-0", Plan::NoSuchRange),
            ("bytes=5-3", Plan::Whole),
            ("bytes=0-1,3-4", Plan::Whole),
            ("bytes=", Plan::Whole),
            ("bytes=-", Plan::Whole),
            ("bytes=+1-2", Plan::Whole),
            ("bytes=99999999999999999999-", Plan::Whole),
            ("lines=0-1", Plan::Whole),
        ] {
            assert_eq!(planned(&[(RANGE, range)]), expected, "{range}");
        }
    }

    #[test]
    fn a_range_under_another_version_is_ignored() {
        for (version, expected) in [
            ("\"v1\"", Plan::Part(3, 9)),
            (THEN, Plan::Part(3, 9)),
            ("\"v2\"", Plan::Whole),
            ("W/\"v1\"", Plan::Whole),
            (BEFORE, Plan::Whole),
            (AFTER, Plan::Whole),
            ("", Plan::Whole),
        ] {
            let planned = planned(&[(RANGE, "bytes=3-"), (IF_RANGE, version)]);
            assert_eq!(planned, expected, "{version}");
        }
    }

    #[test]
    fn the_version_that_the_client_has_is_not_sent() {
        for tags in ["\"v1\"", "W/\"v1\"", "\"v0\", \"v1\"", "*"] {
            assert_eq!(
                planned(&[(IF_NONE_MATCH, tags)]),
                Plan::NotModified,
                "{tags}"
            );
        }
        for since in [THEN, AFTER] {
            assert_eq!(planned(&[(IF_MODIFIED_SINCE, since)]), Plan::NotModified);
        }
        for since in [BEFORE, "yesterday"] {
            assert_eq!(planned(&[(IF_MODIFIED_SINCE, since)]), Plan::Whole);
        }
        // The tag decides where both are given.
        let both = [(IF_NONE_MATCH, "\"v0\""), (IF_MODIFIED_SINCE, AFTER)];
        assert_eq!(planned(&both), Plan::Whole);
    }

    #[test]
    fn times_that_http_cannot_say_are_left_out() {
        let epoch = SystemTime::UNIX_EPOCH;
        assert_eq!(http_time(epoch), Some(epoch));
        assert_eq!(http_time(epoch - Duration::from_secs(1)), None);
        let last = epoch + Duration::from_secs(DATE_SECONDS_MAX);
        assert!(httpdate::fmt_http_date(http_time(last).unwrap()).contains("9999"));
        assert_eq!(http_time(last + Duration::from_secs(1)), None);
    }
}
