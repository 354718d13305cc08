//! Key files: repository configuration, remotes and origins.
//!
//! The dialect is GLib's. Unlike GLib, a file keeps its whole layout when it is changed and written
//! back: every line that is not changed stays as it was, comments, blank lines and duplicate groups
//! included. Where a group or key occurs more than once, the groups are read as one and the last
//! value counts.

mod escape;
mod line;

use std::fmt;

use self::escape::{escape_list, escape_string, unescape_list, unescape_string};
use self::line::{Kind, Line, is_group_name, is_key_name};
use super::{FormatError, Place};

const WHAT: &str = "key file";

/// A key file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyFile {
    lines: Vec<Line>,
}

impl KeyFile {
    /// Returns an empty key file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses a key file.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, FormatError> {
        let text = text.as_ref();
        let text = std::str::from_utf8(text).map_err(|e| {
            let line = text[..e.valid_up_to()].split(|&byte| byte == b'\n').count();
            FormatError::new(WHAT, "not UTF-8").at(Place::Line(line as u64))
        })?;
        let mut lines = Vec::new();
        let mut in_group = false;
        for (index, text) in text.split_inclusive('\n').enumerate() {
            let problem = match Line::parse(text) {
                Ok(line) if !in_group && matches!(line.kind, Kind::Entry { .. }) => {
                    "a key comes before the first group".into()
                }
                Ok(line) => {
                    in_group |= matches!(line.kind, Kind::Group(_));
                    lines.push(line);
                    continue;
                }
                Err(problem) => problem,
            };
            return Err(FormatError::new(WHAT, problem).at(Place::Line(index as u64 + 1)));
        }
        Ok(Self { lines })
    }

    /// Returns the names of the groups, each once, in the order of their first occurrence.
    pub fn groups(&self) -> Vec<&str> {
        unique(self.lines.iter().filter_map(|line| match &line.kind {
            Kind::Group(name) => Some(name.as_str()),
            _ => None,
        }))
    }

    /// Returns whether there is a group called `group`.
    pub fn has_group(&self, group: &str) -> bool {
        self.lines.iter().any(|line| line.is_group(group))
    }

    /// Returns the keys of `group`, each once, in the order of their first occurrence.
    pub fn keys(&self, group: &str) -> Vec<&str> {
        unique(self.entries(group).map(|(_, key, _)| key))
    }

    /// Returns the value of `key` in `group` as it is written.
    pub fn get_raw(&self, group: &str, key: &str) -> Option<&str> {
        self.find(group, key).map(|(_, value)| value)
    }

    /// Returns the value of `key` in `group` with its escapes resolved.
    pub fn string(&self, group: &str, key: &str) -> Result<Option<String>, FormatError> {
        self.read(group, key, |value| {
            unescape_string(value).ok_or("an escape is not valid")
        })
    }

    /// Returns the value of `key` in `group` as a list separated by semicolons.
    pub fn string_list(&self, group: &str, key: &str) -> Result<Option<Vec<String>>, FormatError> {
        self.read(group, key, |value| {
            unescape_list(value).ok_or("an escape is not valid")
        })
    }

    /// Returns the value of `key` in `group` as a boolean.
    pub fn boolean(&self, group: &str, key: &str) -> Result<Option<bool>, FormatError> {
        self.read(group, key, |value| match value.trim_ascii_end() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err("not a boolean"),
        })
    }

    /// Returns the value of `key` in `group` as a number.
    pub fn uint64(&self, group: &str, key: &str) -> Result<Option<u64>, FormatError> {
        self.read(group, key, |value| {
            value.parse().map_err(|_| "not an unsigned number")
        })
    }

    /// Sets `key` in `group` to `value` as it is to be written, without line ends or blanks in
    /// front.
    ///
    /// A new key comes last in its group, and a new group last in the file.
    pub fn set_raw(&mut self, group: &str, key: &str, value: &str) -> Result<(), FormatError> {
        let bad = |what: &str, name: &str| {
            Err(FormatError::new(
                WHAT,
                format!("{name:?} is not a valid {what}"),
            ))
        };
        if !is_group_name(group) {
            return bad("group name", group);
        }
        if !is_key_name(key) {
            return bad("key", key);
        }
        if value.contains(['\n', '\r', '\0'])
            || value.starts_with(|c: char| c.is_ascii_whitespace())
        {
            return bad("value", value);
        }
        let line = Line::entry(key, value);
        if let Some((at, _)) = self.find(group, key) {
            self.lines[at] = line;
        } else if let Some(at) = self.lines.iter().rposition(|line| line.is_group(group)) {
            let end = self.end_of_group(at);
            self.insert(end, line);
        } else {
            if self.lines.last().is_some_and(|line| !line.is_blank()) {
                self.insert(self.lines.len(), Line::blank());
            }
            self.insert(self.lines.len(), Line::group(group));
            self.insert(self.lines.len(), line);
        }
        Ok(())
    }

    /// Sets `key` in `group` to `value`, escaped as needed.
    pub fn set_string(&mut self, group: &str, key: &str, value: &str) -> Result<(), FormatError> {
        self.set_raw(group, key, &escape_string(value))
    }

    /// Sets `key` in `group` to a list.
    pub fn set_string_list<S: AsRef<str>>(
        &mut self,
        group: &str,
        key: &str,
        values: impl IntoIterator<Item = S>,
    ) -> Result<(), FormatError> {
        self.set_raw(group, key, &escape_list(values))
    }

    /// Sets `key` in `group` to a boolean.
    pub fn set_boolean(&mut self, group: &str, key: &str, value: bool) -> Result<(), FormatError> {
        self.set_raw(group, key, if value { "true" } else { "false" })
    }

    /// Sets `key` in `group` to a number.
    pub fn set_uint64(&mut self, group: &str, key: &str, value: u64) -> Result<(), FormatError> {
        self.set_raw(group, key, &value.to_string())
    }

    /// Removes `key` from `group`, wherever it occurs, and returns whether it did.
    pub fn remove_key(&mut self, group: &str, key: &str) -> bool {
        let found: Vec<usize> = self
            .entries(group)
            .filter(|&(_, k, _)| k == key)
            .map(|(at, ..)| at)
            .collect();
        for &at in found.iter().rev() {
            self.lines.remove(at);
        }
        !found.is_empty()
    }

    /// Removes `group` with all its keys and comments, and returns whether there was one.
    pub fn remove_group(&mut self, group: &str) -> bool {
        let mut found = false;
        while let Some(at) = self.lines.iter().position(|line| line.is_group(group)) {
            let end = self.start_of_next_group(at);
            self.lines.drain(at..end);
            found = true;
        }
        found
    }

    /// Returns index, key and value of the entries of `group`.
    fn entries(&self, group: &str) -> impl Iterator<Item = (usize, &str, &str)> {
        let mut inside = false;
        self.lines
            .iter()
            .enumerate()
            .filter_map(move |(at, line)| match &line.kind {
                Kind::Entry { key, value } if inside => Some((at, key.as_str(), value.as_str())),
                Kind::Group(name) => {
                    inside = name == group;
                    None
                }
                _ => None,
            })
    }

    fn find(&self, group: &str, key: &str) -> Option<(usize, &str)> {
        let found = self.entries(group).filter(|&(_, k, _)| k == key).last();
        found.map(|(at, _, value)| (at, value))
    }

    fn read<T>(
        &self,
        group: &str,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Result<Option<T>, FormatError> {
        let Some((at, value)) = self.find(group, key) else {
            return Ok(None);
        };
        read(value).map(Some).map_err(|problem| {
            let problem = format!("[{group}] {key}: {problem}: {value:?}");
            FormatError::new(WHAT, problem).at(Place::Line(at as u64 + 1))
        })
    }

    /// Returns where the group after the one at `at` starts, with the comments right before it.
    fn start_of_next_group(&self, at: usize) -> usize {
        let after = &self.lines[at + 1..];
        match after
            .iter()
            .position(|line| matches!(line.kind, Kind::Group(_)))
        {
            None => self.lines.len(),
            Some(next) => {
                let is_other = |line: &Line| !line.is_comment();
                at + 1
                    + after[..next]
                        .iter()
                        .rposition(is_other)
                        .map_or(0, |last| last + 1)
            }
        }
    }

    /// Returns where the group at `at` ends, without the blank lines after it.
    fn end_of_group(&self, at: usize) -> usize {
        let end = self.start_of_next_group(at);
        let is_filled = |line: &Line| !line.is_blank();
        at + 1
            + self.lines[at + 1..end]
                .iter()
                .rposition(is_filled)
                .map_or(0, |last| last + 1)
    }

    fn insert(&mut self, at: usize, line: Line) {
        // Only the last line of a file may lack its end.
        if let Some(before) = at
            .checked_sub(1)
            .and_then(|before| self.lines.get_mut(before))
        {
            before.end_with_newline();
        }
        self.lines.insert(at, line);
    }
}

impl fmt::Display for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines
            .iter()
            .try_for_each(|line| f.write_str(&line.text))
    }
}

fn unique<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = std::collections::HashSet::new();
    names.filter(|name| seen.insert(*name)).collect()
}
