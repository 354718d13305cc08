//! Splitting text into tokens, and taking quotes off strings.

use super::error;
use crate::format::FormatError;

/// A token and where it starts.
#[derive(Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) at: usize,
    pub(super) kind: Kind<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    End,
    Punctuation(u8),
    Number(&'a str),
    Word(&'a str),
    /// A type without its `@`.
    Type(&'a str),
    /// What is between the quotes.
    Str(&'a str),
    /// What is between the quotes after `b`.
    Bytes(&'a str),
}

/// Returns the first token of `text` from the byte offset `from`, and where it ends.
pub(super) fn token(text: &str, from: usize) -> Result<(Token<'_>, usize), FormatError> {
    let rest = text[from..].trim_ascii_start();
    let at = text.len() - rest.len();
    let bytes = rest.as_bytes();
    let span = |accept: fn(u8) -> bool| {
        bytes
            .iter()
            .position(|&byte| !accept(byte))
            .unwrap_or(bytes.len())
    };
    let (kind, len) = match bytes {
        [] => (Kind::End, 0),
        [b'b', b'\'' | b'"', ..] => {
            let inner = quoted(&rest[1..], at + 1)?;
            (Kind::Bytes(inner), inner.len() + 3)
        }
        [b'\'' | b'"', ..] => {
            let inner = quoted(rest, at)?;
            (Kind::Str(inner), inner.len() + 2)
        }
        [b'a'..=b'z', ..] => {
            let len = span(|byte| byte.is_ascii_alphanumeric());
            (Kind::Word(&rest[..len]), len)
        }
        [b'0'..=b'9' | b'+' | b'-' | b'.', ..] => {
            let len = span(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
            (Kind::Number(&rest[..len]), len)
        }
        [b'@', ..] => {
            let len = type_len(bytes);
            (Kind::Type(&rest[1..len]), len)
        }
        [byte, ..] if b"()[]{}<>,:".contains(byte) => (Kind::Punctuation(*byte), 1),
        _ => return Err(error(at, "expected a value")),
    };
    Ok((Token { at, kind }, at + len))
}

/// Returns how long the type is that `bytes` start with: up to the first blank, comma, colon or
/// bracket that it did not open.
fn type_len(bytes: &[u8]) -> usize {
    let mut open = 0_usize;
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b',' | b':' | b'>' | b']' => return index,
            byte if byte.is_ascii_whitespace() => return index,
            b'(' | b'{' => open += 1,
            b')' | b'}' if open == 0 => return index,
            b')' | b'}' => open -= 1,
            _ => {}
        }
    }
    bytes.len()
}

/// Returns what is between the quote `text` starts with and the next that is not escaped.
fn quoted(text: &str, at: usize) -> Result<&str, FormatError> {
    let bytes = text.as_bytes();
    let mut end = 1;
    while let Some(&byte) = bytes.get(end) {
        match byte {
            b'\\' => end += 2,
            byte if byte == bytes[0] => return Ok(&text[1..end]),
            _ => end += 1,
        }
    }
    Err(error(at, "unterminated string"))
}

/// Returns the string that `text`, found at the byte offset `at`, stands for.
pub(super) fn unescape(text: &str, at: usize) -> Result<String, FormatError> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some(c @ ('u' | 'U')) => {
                let digits = if c == 'u' { 4 } else { 8 };
                let code = chars.as_str().get(..digits).and_then(unicode);
                out.push(code.ok_or_else(|| error(at, "invalid unicode escape"))?);
                chars.nth(digits - 1);
            }
            Some(c) => out.extend(simple_escape(c)),
            None => {}
        }
    }
    if out.contains('\0') {
        return Err(error(at, "a string must not contain NUL"));
    }
    Ok(out)
}

fn unicode(digits: &str) -> Option<char> {
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, 16)
        .ok()
        .filter(|&code| code != 0)
        .and_then(char::from_u32)
}

/// Returns the bytes, with a NUL at the end, that `text` stands for.
pub(super) fn unescape_bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 1);
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after.split_first()) {
            (b'\\', Some((b'0'..=b'7', _))) => {
                let digits = after
                    .iter()
                    .take(3)
                    .take_while(|digit| matches!(digit, b'0'..=b'7'));
                let number = digits.clone().fold(0_u8, |n, digit| {
                    n.wrapping_mul(8).wrapping_add(digit - b'0')
                });
                rest = &after[digits.count()..];
                // The bytes are a C string, which ends here.
                if number == 0 {
                    break;
                }
                out.push(number);
            }
            (b'\\', Some((&escaped, after))) => {
                rest = after;
                if escaped.is_ascii() {
                    out.extend(simple_escape(char::from(escaped)).map(|c| c as u8));
                } else {
                    out.push(escaped);
                }
            }
            (b'\\', None) => {}
            _ => out.push(byte),
        }
    }
    out.push(0);
    out
}

/// Returns what a backslash and `c` stand for, which is nothing at the end of a line.
fn simple_escape(c: char) -> Option<char> {
    Some(match c {
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        '\n' => return None,
        c => c,
    })
}
