//! What the header of an answer says. Pure: no I/O, no clock.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{
    CONTENT_RANGE, DATE, ETAG, HeaderMap, HeaderName, LAST_MODIFIED, RETRY_AFTER,
};
use treeferry_core::transport::Validator;
use treeferry_core::{Error, ErrorKind};

use crate::failure;

/// What a status means for whoever asked for a file.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The whole file follows.
    Whole,
    /// A part of it follows.
    Part,
    /// It is the version that the caller has.
    NotModified,
    /// It is not there.
    Missing,
    /// There is nothing from that offset on.
    RangeRefused,
    /// It did not work.
    Failed(Error),
}

/// Returns what `status` means.
pub(crate) fn outcome(status: StatusCode, headers: &HeaderMap) -> Outcome {
    match status.as_u16() {
        200 => Outcome::Whole,
        206 => Outcome::Part,
        304 => Outcome::NotModified,
        // Buckets that may not be listed answer 403 for what is not there.
        403 | 404 | 410 => Outcome::Missing,
        416 => Outcome::RangeRefused,
        code => Outcome::Failed(failed(code, status, headers)),
    }
}

fn failed(code: u16, status: StatusCode, headers: &HeaderMap) -> Error {
    match code {
        401 => Error::new(
            ErrorKind::Denied,
            "the server asks for other credentials (401)",
        ),
        407 => Error::new(
            ErrorKind::Denied,
            "the proxy asks for other credentials (407)",
        ),
        408 | 425 | 429 | 500..=599 => Error::new(
            failure::unavailable_for(retry_after(headers)),
            format!("the server cannot answer now ({status})"),
        ),
        400..=499 => Error::new(ErrorKind::Denied, format!("the server refuses ({status})")),
        _ => Error::corrupt(format!("the answer {status} is not one to this request")),
    }
}

/// Returns the version that the header tells, if it tells it so that two can be told apart.
pub(crate) fn validator(headers: &HeaderMap) -> Option<Validator> {
    if let Some(tag) = text(headers, &ETAG).filter(|tag| is_strong(tag)) {
        return Some(Validator::ETag(tag.into()));
    }
    let modified = text(headers, &LAST_MODIFIED)?;
    // A file that changed within the second of the answer may change again within it.
    if let (Some(modified), Some(date)) = (date(modified), own_date(headers))
        && date
            .duration_since(modified)
            .is_ok_and(|age| age < Duration::from_secs(1))
    {
        return None;
    }
    Some(Validator::LastModified(modified.into()))
}

/// Returns whether `tag` is an entity tag for bytes, not for meaning (`W/"..."`).
pub(crate) fn is_strong(tag: &str) -> bool {
    tag.len() >= 2
        && tag.starts_with('"')
        && tag.ends_with('"')
        && !tag[1..tag.len() - 1].contains('"')
}

/// Returns how long the server asks to be left alone.
///
/// A date is counted from the answer's own date, so that neither side's clock matters.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = text(headers, &RETRY_AFTER)?.trim();
    if let Some(seconds) = decimal(value) {
        return Some(Duration::from_secs(seconds));
    }
    let until = date(value)?;
    Some(until.duration_since(own_date(headers)?).unwrap_or_default())
}

fn own_date(headers: &HeaderMap) -> Option<std::time::SystemTime> {
    date(text(headers, &DATE)?)
}

fn date(value: &str) -> Option<std::time::SystemTime> {
    httpdate::parse_http_date(value.trim()).ok()
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Which bytes of a file an answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ContentRange {
    /// The first and the last byte; `None` when the range was refused.
    pub(crate) bytes: Option<(u64, u64)>,
    /// How long the file is, if that is known.
    pub(crate) total_bytes: Option<u64>,
}

/// Reads `Content-Range`: `bytes FIRST-LAST/TOTAL`, with `*` for what is not known.
pub(crate) fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    let mut values = headers.get_all(CONTENT_RANGE).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    parse_content_range(value)
}

fn parse_content_range(value: &str) -> Option<ContentRange> {
    let (unit, rest) = value.split_once(' ')?;
    let (range, total) = rest.trim_start().split_once('/')?;
    let total_bytes = match total {
        "*" => None,
        total => Some(decimal(total)?),
    };
    let bytes = match range {
        "*" => None,
        range => {
            let (first, last) = range.split_once('-')?;
            let (first, last) = (decimal(first)?, decimal(last)?);
            // The last byte of a file of 2^64 bytes has no successor to count to.
            let possible =
                first <= last && last < u64::MAX && total_bytes.is_none_or(|total| last < total);
            possible.then_some(Some((first, last)))?
        }
    };
    unit.eq_ignore_ascii_case("bytes")
        .then_some(ContentRange { bytes, total_bytes })
}

/// Reads digits, and nothing but digits.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// Decodes `%XX`; what is no such sequence stays as it is.
pub(crate) fn percent_decode(text: &[u8]) -> Vec<u8> {
    let hex = |b: u8| {
        char::from(b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let decoded = match after {
            [high, low, ..] if byte == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match decoded {
            Some((high, low)) => {
                out.push(high << 4 | low);
                rest = &after[2..];
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(n, v)| (n.clone(), v.parse().unwrap()));
        pairs.collect()
    }

    #[test]
    fn content_ranges_are_read_exactly() {
        let range = |bytes, total_bytes| Some(ContentRange { bytes, total_bytes });
        assert_eq!(
            parse_content_range("bytes 5-9/10"),
            range(Some((5, 9)), Some(10))
        );
        assert_eq!(
            parse_content_range("bytes 5-9/*"),
            range(Some((5, 9)), None)
        );
        assert_eq!(parse_content_range("bytes */10"), range(None, Some(10)));
        for bad in [
            "",
            "bytes",
            "bytes 5-9",
            "bytes 9-5/10",
            "bytes 5-10/10",
            "bytes 5-/10",
            "bytes -5-9/10",
            "bytes +5-9/10",
            "items 5-9/10",
            "bytes 5-9/10/11",
            "bytes 0-18446744073709551615/*",
            "bytes 5-18446744073709551616/*",
            "bytes 5-9/1O",
        ] {
            assert_eq!(parse_content_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date_against_the_servers_own_clock() {
        let seconds = headers(&[(RETRY_AFTER, "120")]);
        assert_eq!(retry_after(&seconds), Some(Duration::from_secs(120)));
        let now = "Tue, 15 Nov 1994 08:12:31 GMT";
        let later = "Tue, 15 Nov 1994 08:13:01 GMT";
        let date = headers(&[(DATE, now), (RETRY_AFTER, later)]);
        assert_eq!(retry_after(&date), Some(Duration::from_secs(30)));
        let past = headers(&[(DATE, later), (RETRY_AFTER, now)]);
        assert_eq!(retry_after(&past), Some(Duration::ZERO));
        assert_eq!(retry_after(&headers(&[(RETRY_AFTER, later)])), None);
        assert_eq!(retry_after(&headers(&[(RETRY_AFTER, "-1")])), None);
    }

    #[test]
    fn only_validators_that_tell_bytes_apart_are_used() {
        let old = "Tue, 15 Nov 1994 08:12:31 GMT";
        let tag = headers(&[(ETAG, "\"a\""), (LAST_MODIFIED, old)]);
        assert_eq!(validator(&tag), Some(Validator::ETag("\"a\"".into())));
        let weak = headers(&[(ETAG, "W/\"a\""), (LAST_MODIFIED, old)]);
        assert_eq!(validator(&weak), Some(Validator::LastModified(old.into())));
        let fresh = headers(&[(DATE, old), (LAST_MODIFIED, old)]);
        assert_eq!(validator(&fresh), None);
        assert_eq!(validator(&headers(&[(ETAG, "bare")])), None);
        assert_eq!(validator(&headers(&[(ETAG, "\"")])), None);
    }

    #[test]
    fn percent_sequences_are_decoded_and_others_kept() {
        assert_eq!(percent_decode(b"a%20b%2Fc%zz%4"), b"a b/c%zz%4");
        assert_eq!(percent_decode(b"%C3%BC"), "ü".as_bytes());
    }
}
