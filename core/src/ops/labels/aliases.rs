//! Paths that are labelled like others: lines `ALIAS ORIGINAL`.

use std::borrow::Cow;

use super::contexts::lines;
use crate::error::{Error, Result};

/// The aliases of a policy. Those of the administrator are applied first, those of the
/// distribution to what comes of it.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    distribution: Vec<(Box<str>, Box<str>)>,
    local: Vec<(Box<str>, Box<str>)>,
}

impl Aliases {
    /// Reads the distribution's and the administrator's file, each given with its name.
    pub(super) fn parse(files: &[(&str, &[u8]); 2]) -> Result<Self> {
        let [distribution, local] = files;
        Ok(Self {
            distribution: parse(distribution.0, distribution.1)?,
            local: parse(local.0, local.1)?,
        })
    }

    /// Returns the path that is looked up in place of `path`.
    pub(super) fn apply<'a>(&self, path: &'a str) -> Cow<'a, str> {
        let once = substitute(&self.local, path);
        match substitute(&self.distribution, &once) {
            Cow::Borrowed(_) => once,
            Cow::Owned(twice) => Cow::Owned(twice),
        }
    }
}

/// A later line counts before an earlier one.
fn substitute<'a>(aliases: &[(Box<str>, Box<str>)], path: &'a str) -> Cow<'a, str> {
    for (alias, original) in aliases.iter().rev() {
        if let Some(rest) = path.strip_prefix(&**alias)
            && (rest.is_empty() || rest.starts_with('/'))
        {
            return Cow::Owned(format!("{original}{rest}"));
        }
    }
    Cow::Borrowed(path)
}

fn parse(file: &str, text: &[u8]) -> Result<Vec<(Box<str>, Box<str>)>> {
    let mut aliases = Vec::new();
    for line in lines(text) {
        let (number, line) = line?;
        let mut words = line.split_ascii_whitespace();
        let (Some(alias), Some(original)) = (words.next(), words.next()) else {
            let problem = format!("line {number}: expected ALIAS ORIGINAL");
            return Err(Error::invalid(problem).about(std::path::Path::new(file)));
        };
        aliases.push((alias.into(), original.into()));
    }
    Ok(aliases)
}
