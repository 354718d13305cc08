//! What the server was told to demand of requests, and to do to them.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use treeferry_transport_http::{Answer, Asked, Verdict};

use super::Args;
use super::log::Log;

/// A name and a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) key: String,
    pub(super) value: String,
}

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| format!("Missing '=' in KEY=VALUE, got '{text}'"))?;
        Ok(Self {
            key: key.to_owned(),
            value: value.to_owned(),
        })
    }
}

/// A status that some of the requests get, by chance.
struct Chance {
    status: u16,
    percentage: u32,
    left: AtomicU32,
}

impl Chance {
    fn new(status: u16, percentage: u32, at_most: u32) -> Self {
        Self {
            status,
            percentage,
            left: AtomicU32::new(at_most),
        }
    }

    fn strikes(&self) -> Option<Verdict> {
        // Seeded anew each time: good enough to be unpredictable.
        let drawn = RandomState::new().build_hasher().finish() % 100;
        if drawn >= u64::from(self.percentage) {
            return None;
        }
        let (relaxed, less) = (Ordering::Relaxed, |left: u32| left.checked_sub(1));
        let struck = self.left.fetch_update(relaxed, relaxed, less);
        struck
            .is_ok()
            .then(|| Verdict::Answer(Answer::status(self.status)))
    }
}

/// All of it.
pub(super) struct Faults {
    basic_auth: bool,
    cookies: Vec<Pair>,
    headers: Vec<Pair>,
    chances: [Chance; 2],
    halves: bool,
}

impl Faults {
    pub(super) fn new(args: &Args) -> Self {
        Self {
            basic_auth: args.require_basic_auth,
            cookies: args.expected_cookies.clone(),
            headers: args.expected_header.clone(),
            chances: [
                Chance::new(500, args.random_500s, args.random_500s_max),
                Chance::new(408, args.random_408s, args.random_408s_max),
            ],
            halves: args.force_range_requests,
        }
    }

    /// Returns what becomes of a request; `None` when it is served as any other.
    pub(super) fn of(&self, asked: &Asked, log: &Log) -> Option<Verdict> {
        if !matches!(asked.method.as_str(), "GET" | "HEAD") {
            return Some(Verdict::Answer(Answer::status(501)));
        }
        if self.basic_auth && !is_authorized(asked) {
            let answer =
                Answer::status(401).header("WWW-Authenticate", "Basic realm=\"auth-test\"");
            return Some(Verdict::Answer(answer));
        }
        if let Some(missing) = self.misses(asked) {
            log.line(format_args!("{missing}"));
            return Some(Verdict::Answer(Answer::status(403)));
        }
        if let Some(struck) = self.chances.iter().find_map(Chance::strikes) {
            return Some(struck);
        }
        let is_object = asked.path.contains("/objects");
        let whole = asked.method == "GET" && asked.header("range").next().is_none();
        (self.halves && is_object && whole).then_some(Verdict::HalfOfFile)
    }

    /// Returns which cookie or header is not as it was expected.
    fn misses(&self, asked: &Asked) -> Option<String> {
        let cookie = self.cookies.iter().find(|pair| {
            let mut all = asked.header("cookie").flat_map(|line| line.split(';'));
            !all.any(|one| one.trim().split_once('=') == Some((&pair.key, &pair.value)))
        });
        if let Some(pair) = cookie {
            let Pair { key, value } = pair;
            return Some(format!("Expected cookie not found {key}={value}"));
        }
        self.headers.iter().find_map(|pair| {
            let Pair { key, value } = pair;
            match asked.header(key).next() {
                None => Some(format!("Expected header not found {key}")),
                Some(found) if found != value => {
                    Some(format!("Expected header {key}: {value} but found {found}"))
                }
                Some(_) => None,
            }
        })
    }
}

fn is_authorized(asked: &Asked) -> bool {
    let expected = BASE64_STANDARD.encode("foouser:barpw");
    asked.header("authorization").any(|line| {
        let (scheme, given) = line.split_once(' ').unwrap_or((line, ""));
        scheme.eq_ignore_ascii_case("basic") && given.trim() == expected
    })
}
