//! One pattern: a regular expression over a whole path, mostly of a few simple shapes.

use std::sync::OnceLock;

use regex::bytes::{Regex, RegexBuilder};

use crate::error::{Error, Result};

/// How much memory one compiled expression may take, bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// What a path is matched with.
#[derive(Debug)]
pub(super) struct Pattern {
    /// What every path that matches begins with.
    prefix: Box<str>,
    rest: Rest,
}

/// What may follow the prefix.
#[derive(Debug)]
enum Rest {
    /// Nothing.
    End,
    /// Nothing, or `/` and anything: `(/.*)?`.
    Tree,
    /// Anything: `.*`.
    Anything,
    /// What the expression says, over the whole path. Compiled when it is first needed: most
    /// patterns of a policy are for files that no tree has.
    Regex {
        source: Box<str>,
        compiled: OnceLock<std::result::Result<Regex, regex::Error>>,
    },
}

impl Pattern {
    /// Reads a regular expression, in the dialect of Perl as far as policies use it.
    pub(super) fn parse(source: &str) -> Self {
        let (prefix, rest) = split_literal(source);
        let rest = match rest {
            "" => Rest::End,
            "(/.*)?" => Rest::Tree,
            ".*" => Rest::Anything,
            _ => {
                let source: Box<str> = adapt(source).into();
                let compiled = OnceLock::new();
                Rest::Regex { source, compiled }
            }
        };
        Self {
            prefix: prefix.into(),
            rest,
        }
    }

    /// Returns what every path that matches begins with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns whether it matches one path only.
    pub(super) fn is_exact(&self) -> bool {
        matches!(self.rest, Rest::End)
    }

    /// Returns whether it matches all of `path`.
    ///
    /// Fails if it is no regular expression, or one that needs more than a regular one can do.
    pub(super) fn matches(&self, path: &str) -> Result<bool> {
        let Some(rest) = path.strip_prefix(&*self.prefix) else {
            return Ok(false);
        };
        Ok(match &self.rest {
            Rest::End => rest.is_empty(),
            Rest::Tree => rest.is_empty() || rest.starts_with('/'),
            Rest::Anything => true,
            Rest::Regex { source, compiled } => compiled
                .get_or_init(|| compile(source))
                .as_ref()
                .map_err(|e| unusable(source, e))?
                .is_match(path.as_bytes()),
        })
    }
}

/// Returns the text that an expression begins with, and the expression that follows.
fn split_literal(source: &str) -> (String, &str) {
    // An alternative at the top would make all before it optional.
    if has_top_alternative(source) {
        return (String::new(), source);
    }
    let mut prefix = String::new();
    let mut end = 0;
    let mut chars = source.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        let literal = match c {
            '\\' => match chars.next() {
                Some((_, escaped)) if !escaped.is_ascii_alphanumeric() => escaped,
                _ => break,
            },
            '.' | '^' | '$' | '?' | '*' | '+' | '|' | '[' | '(' | '{' | ')' => break,
            c => c,
        };
        let repeats = chars
            .peek()
            .is_some_and(|(_, next)| matches!(next, '?' | '*' | '+' | '{'));
        if repeats {
            end = start;
            break;
        }
        prefix.push(literal);
        end = chars.peek().map_or(source.len(), |(next, _)| *next);
    }
    (prefix, &source[end..])
}

fn has_top_alternative(source: &str) -> bool {
    let (mut depth, mut class, mut escaped) = (0_u32, false, false);
    for c in source.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ']' => class = false,
            _ if class => {}
            '[' => class = true,
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => return true,
            _ => {}
        }
    }
    false
}

/// Escapes what means more inside a class of characters here than it does in Perl.
fn adapt(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + 8);
    let (mut class, mut escaped) = (false, false);
    let mut chars = source.chars().peekable();
    while let Some(c) = chars.next() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if class {
            class = c != ']';
            let nested = c == '[' && chars.peek() != Some(&':');
            if nested || matches!(c, '&' | '~') {
                out.push('\\');
            }
        } else {
            class = c == '[';
        }
        out.push(c);
    }
    out
}

fn unusable(source: &str, error: &regex::Error) -> Error {
    let problem = format!("the SELinux policy's pattern '{source}' cannot be used");
    Error::unsupported(problem).because(error.clone())
}

fn compile(source: &str) -> std::result::Result<Regex, regex::Error> {
    RegexBuilder::new(&format!("^{source}$"))
        .unicode(false)
        .dot_matches_new_line(true)
        .size_limit(REGEX_BYTES_MAX)
        .build()
}
