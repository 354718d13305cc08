//! Path patterns and their labels: lines `PATTERN [-TYPE] LABEL`.
//!
//! The last line that matches counts, except that lines without any wildcard count before all
//! others.

use std::collections::HashMap;

use super::pattern::Pattern;
use crate::error::{Error, Result};

/// What files without a label say instead of one.
const NO_LABEL: &str = "<<none>>";
const FILE_TYPE: u32 = 0o170_000;

/// The rules of a policy, in the order in which they count.
#[derive(Debug, Default)]
pub(super) struct Contexts {
    rules: Vec<Rule>,
    /// The rules by what every path that they match begins with: their numbers, ascending. Of the
    /// thousands of rules, few have to be tried.
    by_prefix: HashMap<Box<str>, Vec<u32>>,
    prefix_bytes_max: usize,
}

#[derive(Debug)]
struct Rule {
    pattern: Pattern,
    /// The file type bits it is for; 0: all.
    file_type: u32,
    label: Box<str>,
}

impl Contexts {
    /// Reads files, each given with its name, in the order in which they follow one another.
    pub(super) fn parse(files: &[(&str, &[u8])]) -> Result<Self> {
        let mut rules = Vec::new();
        for (file, text) in files {
            for line in lines(text) {
                let (number, line) = line.map_err(|e| e.about(std::path::Path::new(file)))?;
                let rule = Rule::parse(line).map_err(|problem| {
                    let problem = format!("line {number}: {problem}");
                    Error::invalid(problem).about(std::path::Path::new(file))
                })?;
                rules.push(rule);
            }
        }
        // Stable: exact paths come last, and count first.
        rules.sort_by_key(|rule| rule.pattern.is_exact());
        let mut this = Self {
            rules,
            ..Self::default()
        };
        for (number, rule) in (0..).zip(&this.rules) {
            let prefix = rule.pattern.prefix();
            this.prefix_bytes_max = this.prefix_bytes_max.max(prefix.len());
            this.by_prefix
                .entry(prefix.into())
                .or_default()
                .push(number);
        }
        Ok(this)
    }

    pub(super) fn lookup(&self, path: &str, mode: u32) -> Result<Option<&str>> {
        let file_type = mode & FILE_TYPE;
        let ends =
            (0..=path.len().min(self.prefix_bytes_max)).filter(|&i| path.is_char_boundary(i));
        let mut candidates: Vec<u32> = ends
            .filter_map(|end| self.by_prefix.get(&path[..end]))
            .flatten()
            .copied()
            .collect();
        candidates.sort_unstable();
        for number in candidates.into_iter().rev() {
            let Some(rule) = self.rules.get(number as usize) else {
                continue;
            };
            let fits = file_type == 0 || rule.file_type == 0 || rule.file_type == file_type;
            if fits && rule.pattern.matches(path)? {
                return Ok(Some(&*rule.label).filter(|label| *label != NO_LABEL));
            }
        }
        Ok(None)
    }
}

impl Rule {
    fn parse(line: &str) -> std::result::Result<Self, String> {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        let (pattern, file_type, label) = match words.as_slice() {
            [pattern, label] => (pattern, 0, label),
            [pattern, file_type, label] => (pattern, parse_type(file_type)?, label),
            _ => return Err("expected PATTERN [-TYPE] LABEL".to_owned()),
        };
        Ok(Self {
            pattern: Pattern::parse(pattern),
            file_type,
            label: (*label).into(),
        })
    }
}

fn parse_type(word: &str) -> std::result::Result<u32, String> {
    Ok(match word {
        "--" => 0o100_000,
        "-d" => 0o040_000,
        "-l" => 0o120_000,
        "-b" => 0o060_000,
        "-c" => 0o020_000,
        "-p" => 0o010_000,
        "-s" => 0o140_000,
        _ => return Err(format!("unknown file type '{word}'")),
    })
}

/// Returns the lines that are neither empty nor comments, with their numbers.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = Result<(usize, &str)>> {
    let lines = (1..).zip(text.split(|byte| *byte == b'\n'));
    lines.filter_map(|(number, line)| {
        let line = std::str::from_utf8(line).map(str::trim);
        match line {
            Ok(line) if line.is_empty() || line.starts_with('#') => None,
            Ok(line) => Some(Ok((number, line))),
            Err(_) => Some(Err(Error::invalid(format!("line {number} is not UTF-8")))),
        }
    })
}
