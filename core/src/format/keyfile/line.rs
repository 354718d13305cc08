//! The lines of a key file.

use std::borrow::Cow;

/// A line as it is written, with its end, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Blank,
    Comment,
    Group(String),
    Entry { key: String, value: String },
}

impl Line {
    pub(super) fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        let line = text.strip_suffix('\n').unwrap_or(text);
        let line = line.strip_suffix('\r').unwrap_or(line).trim_ascii_start();
        Ok(Self {
            text: text.to_owned(),
            kind: parse(line)?,
        })
    }

    pub(super) fn entry(key: &str, value: &str) -> Self {
        let kind = Kind::Entry {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        Self {
            text: format!("{key}={value}\n"),
            kind,
        }
    }

    pub(super) fn group(name: &str) -> Self {
        Self {
            text: format!("[{name}]\n"),
            kind: Kind::Group(name.to_owned()),
        }
    }

    pub(super) fn blank() -> Self {
        Self {
            text: "\n".to_owned(),
            kind: Kind::Blank,
        }
    }

    pub(super) fn is_group(&self, group: &str) -> bool {
        matches!(&self.kind, Kind::Group(name) if name == group)
    }

    pub(super) fn is_blank(&self) -> bool {
        self.kind == Kind::Blank
    }

    pub(super) fn is_comment(&self) -> bool {
        self.kind == Kind::Comment
    }

    pub(super) fn end_with_newline(&mut self) {
        if !self.text.ends_with('\n') {
            self.text.push('\n');
        }
    }
}

fn parse(line: &str) -> Result<Kind, Cow<'static, str>> {
    if line.is_empty() {
        return Ok(Kind::Blank);
    }
    if line.starts_with('#') {
        return Ok(Kind::Comment);
    }
    if let Some((name, rest)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']'))
        && rest.bytes().all(|byte| matches!(byte, b' ' | b'\t'))
    {
        return if is_group_name(name) {
            Ok(Kind::Group(name.to_owned()))
        } else {
            Err(format!("invalid group name {name:?}").into())
        };
    }
    match line.split_once('=') {
        Some((key, value)) if !key.is_empty() => {
            let (key, value) = (key.trim_ascii_end(), value.trim_ascii_start());
            if !is_read_key_name(key) {
                return Err(format!("invalid key {key:?}").into());
            }
            Ok(Kind::Entry {
                key: key.to_owned(),
                value: value.to_owned(),
            })
        }
        _ => Err(format!("not a group, a key with a value or a comment: {line:?}").into()),
    }
}

/// Returns whether `name` may be the name of a group.
pub(super) fn is_group_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| matches!(c, '[' | ']') || c.is_ascii_control())
}

/// Returns whether `key` is read as a key: brackets may only be around a locale at its end.
fn is_read_key_name(key: &str) -> bool {
    let (name, locale) = match key.split_once('[') {
        Some((name, rest)) => match rest.strip_suffix(']') {
            Some(locale) => (name, locale),
            None => return false,
        },
        None => (key, ""),
    };
    let in_locale = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    !name.is_empty() && !name.contains(']') && !name.ends_with(' ') && locale.chars().all(in_locale)
}

/// Returns whether `key` would be read back as it is if it were written.
pub(super) fn is_key_name(key: &str) -> bool {
    is_read_key_name(key)
        && !key.starts_with(['#', ' '])
        && !key.contains(|c: char| c == '=' || c.is_ascii_control())
}
