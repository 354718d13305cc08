//! What happens to a path on which the administrator and the new system disagree. Pure.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use treeferry_core::error::{Error, Result};

/// What happens to a path on which the administrator and the new system disagree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strategy {
    /// What OSTree does: the administrator's stays, except for a file where the new system has a
    /// directory, which stops the upgrade.
    #[default]
    Ostree,
    /// The administrator's stays, also a file in the place of a directory, and also if it is as the
    /// old system shipped it.
    KeepMine,
    /// The new system's comes, and the administrator's is dropped.
    TakeNew,
    /// The administrator's stays, and the new system's file comes beside it, as `NAME.ostnew`.
    Beside,
    /// The upgrade stops.
    Fail,
}

/// What is put behind a name for [`Strategy::Beside`].
pub(crate) const BESIDE_SUFFIX: &str = ".ostnew";

impl FromStr for Strategy {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        Ok(match word {
            "ostree" => Self::Ostree,
            "keep-mine" => Self::KeepMine,
            "take-new" => Self::TakeNew,
            "beside" => Self::Beside,
            "fail" => Self::Fail,
            _ => {
                let problem = format!(
                    "unknown strategy {word:?}: expected ostree, keep-mine, take-new, beside or fail"
                );
                return Err(Error::invalid(problem));
            }
        })
    }
}

/// Strategies by path: the first pattern that matches counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Strategies(Vec<(Pattern, Strategy)>);

impl Strategies {
    /// Returns strategies, those first that count first.
    pub fn new(rules: Vec<(Pattern, Strategy)>) -> Self {
        Self(rules)
    }

    /// Returns the strategy for a path.
    pub fn of(&self, path: &Path) -> Strategy {
        let found = self.0.iter().find(|(pattern, _)| pattern.matches(path));
        found.map_or_else(Strategy::default, |(_, strategy)| *strategy)
    }
}

/// Matches paths relative to `/etc`. `*` stands for anything in a name, `?` for one letter, `**` for
/// any number of directories; a pattern that matches a directory matches all below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<String>);

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let relative = text.trim_start_matches("/etc/").trim_matches('/');
        let parts: Vec<_> = relative.split('/').map(str::to_owned).collect();
        if parts
            .iter()
            .any(|part| part.is_empty() || part == "." || part == "..")
        {
            return Err(Error::invalid(format!(
                "{text:?} is no pattern of a path in /etc"
            )));
        }
        Ok(Self(parts))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

impl Pattern {
    /// Returns whether it matches a path or a directory above it.
    pub fn matches(&self, path: &Path) -> bool {
        let names: Vec<_> = path.iter().map(|name| name.to_string_lossy()).collect();
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        // What is reached after each name: which parts may come next.
        let mut at = vec![0];
        self.skip_any(&mut at);
        for name in names {
            if at.contains(&self.0.len()) {
                return true;
            }
            let mut next = Vec::new();
            for &part in &at {
                match self.0[part].as_str() {
                    "**" => next.extend([part, part + 1]),
                    pattern if glob(pattern, name) => next.push(part + 1),
                    _ => {}
                }
            }
            self.skip_any(&mut next);
            at = next;
        }
        at.contains(&self.0.len())
    }

    /// Adds what is reached if `**` stands for no directory.
    fn skip_any(&self, at: &mut Vec<usize>) {
        let mut index = 0;
        while let Some(&part) = at.get(index) {
            let skips = self.0.get(part).is_some_and(|part| part == "**");
            if skips && !at.contains(&(part + 1)) {
                at.push(part + 1);
            }
            index += 1;
        }
    }
}

fn glob(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<_>, Vec<_>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some('?') => (p, n) = (p + 1, n + 1),
            Some(c) if *c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, n) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_paths() {
        for (pattern, path, expected) in [
            ("ssh", "ssh/sshd_config", true),
            ("/etc/ssh/*_config", "ssh/sshd_config", true),
            ("ssh/*.pub", "ssh/sshd_config", false),
            ("**/*.conf", "a.conf", true),
            ("**/*.conf", "a/b/c.conf", true),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("a/**/z", "b/z", false),
            ("?", "ab", false),
            ("*a*b", "xaxxb", true),
        ] {
            let parsed: Pattern = pattern.parse().unwrap();
            assert_eq!(
                parsed.matches(Path::new(path)),
                expected,
                "{pattern} {path}"
            );
        }
        assert!("../x".parse::<Pattern>().is_err());
    }
}
