//! Kernel arguments: an ordered list of `KEY` and `KEY=VALUE`, in which a key may occur often.

use std::fmt;

use treeferry_core::error::{Error, Result};

/// Kernel arguments, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelArgs(Vec<Arg>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Arg {
    key: String,
    value: Option<String>,
}

impl Arg {
    fn parse(word: &str) -> Self {
        match word.split_once('=') {
            Some((key, value)) => Self {
                key: key.to_owned(),
                value: Some(value.to_owned()),
            },
            None => Self {
                key: word.to_owned(),
                value: None,
            },
        }
    }
}

impl fmt::Display for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}", self.key),
            None => f.write_str(&self.key),
        }
    }
}

/// Arguments that a boot loader adds by itself, and that are not to be recorded.
const OF_BOOT_LOADERS: [&str; 2] = ["BOOT_IMAGE", "initrd"];

impl KernelArgs {
    /// Returns no arguments.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a command line. Blanks between double quotes do not separate; a quote that is not
    /// closed reaches to the end.
    pub fn parse(line: &str) -> Self {
        Self(words(line).map(Arg::parse).collect())
    }

    /// Reads the command line of the running kernel, as `/proc/cmdline` shows it, without what the
    /// boot loader added.
    pub fn parse_running(line: &str) -> Self {
        let mut args = Self::parse(line.trim_end());
        let added = |arg: &Arg| OF_BOOT_LOADERS.contains(&arg.key.as_str()) && arg.value.is_some();
        args.0.retain(|arg| !added(arg));
        args
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the last value of `key`; `None` if it does not occur, or has no value.
    pub fn last_value(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|arg| arg.key == key)?;
        found.value.as_deref()
    }

    /// Returns whether exactly this argument occurs.
    pub fn contains(&self, arg: &str) -> bool {
        self.0.contains(&Arg::parse(arg))
    }

    /// Adds arguments at the end.
    pub fn append(&mut self, args: &str) {
        self.0.extend(words(args).map(Arg::parse));
    }

    /// Adds those arguments at the end that do not occur yet.
    pub fn append_if_missing(&mut self, args: &str) {
        for word in words(args) {
            if !self.contains(word) {
                self.append(word);
            }
        }
    }

    /// Puts each argument where its key stands first, in place of all with that key; at the end if
    /// there is none.
    pub fn replace(&mut self, args: &str) {
        for new in words(args).map(Arg::parse) {
            match self.0.iter().position(|arg| arg.key == new.key) {
                None => self.0.push(new),
                Some(first) => {
                    let key = new.key.clone();
                    self.0[first] = new;
                    let mut at = 0;
                    self.0.retain(|arg| {
                        at += 1;
                        at - 1 <= first || arg.key != key
                    });
                }
            }
        }
    }

    /// Changes the value of arguments that must occur: `KEY=NEW` if the key occurs once, or
    /// `KEY=OLD=NEW`.
    pub fn replace_existing(&mut self, args: &str) -> Result<()> {
        for new in words(args).map(Arg::parse) {
            let key = &new.key;
            let with_key: Vec<usize> = self.positions(key);
            if with_key.is_empty() {
                return Err(Error::missing(format!("No key '{key}' found")));
            }
            let (at, value) = match new.value.as_deref().and_then(|value| value.split_once('=')) {
                Some((old, value)) => {
                    let same = |at: &&usize| self.0[**at].value.as_deref() == Some(old);
                    let at = with_key.iter().find(same);
                    let at =
                        *at.ok_or_else(|| Error::missing(format!("No karg '{key}={old}' found")))?;
                    (at, Some(value.to_owned()))
                }
                None if with_key.len() > 1 => {
                    let problem = format!("Multiple values for key '{key}' found");
                    return Err(Error::invalid(problem));
                }
                None => (with_key[0], new.value.clone()),
            };
            self.0[at].value = value;
        }
        Ok(())
    }

    /// Removes arguments that must occur: `KEY=VALUE`, or `KEY` if it occurs once or has no value.
    pub fn delete(&mut self, args: &str) -> Result<()> {
        for word in words(args) {
            let wanted = Arg::parse(word);
            let with_key = self.positions(&wanted.key);
            let exact = with_key
                .iter()
                .find(|&&at| self.0[at].value == wanted.value);
            let at = match (exact, with_key.as_slice()) {
                (_, []) => return Err(Error::missing(format!("No key '{}' found", wanted.key))),
                (Some(at), _) => *at,
                (None, [at]) if wanted.value.is_none() => *at,
                (None, _) if wanted.value.is_none() => {
                    let problem = format!("Multiple values for key '{word}' found");
                    return Err(Error::invalid(problem));
                }
                (None, _) => return Err(Error::missing(format!("No karg '{word}' found"))),
            };
            self.0.remove(at);
        }
        Ok(())
    }

    /// Removes those arguments that occur.
    pub fn delete_if_present(&mut self, args: &str) -> Result<()> {
        for word in words(args) {
            if self.contains(word) {
                self.delete(word)?;
            }
        }
        Ok(())
    }

    /// Removes all arguments with that key.
    pub fn remove_key(&mut self, key: &str) {
        self.0.retain(|arg| arg.key != key);
    }

    /// Returns these without `ostree=`: what a user sees as theirs.
    #[must_use]
    pub fn without_ostree(&self) -> Self {
        let mut args = self.clone();
        args.remove_key("ostree");
        args
    }

    /// Returns the arguments one by one.
    pub fn to_words(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    fn positions(&self, key: &str) -> Vec<usize> {
        let found = self.0.iter().enumerate().filter(|(_, arg)| arg.key == key);
        found.map(|(at, _)| at).collect()
    }
}

impl fmt::Display for KernelArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_words().join(" "))
    }
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let separates = move |c: char| {
        quoted ^= c == '"';
        c == ' ' && !quoted
    };
    line.split(separates).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut KernelArgs) -> Result<()>;

    #[test]
    fn each_change_does_what_ostree_does() {
        let table: &[(&str, Change, &str)] = &[
            (
                "a=1 quiet",
                |k| {
                    k.append("a=2 b");
                    Ok(())
                },
                "a=1 quiet a=2 b",
            ),
            (
                "a=1 quiet a=2",
                |k| {
                    k.replace("a=3");
                    Ok(())
                },
                "a=3 quiet",
            ),
            (
                "x a=1 y a=2 a z",
                |k| {
                    k.replace("a");
                    Ok(())
                },
                "x a y z",
            ),
            (
                "quiet",
                |k| {
                    k.replace("a=3");
                    Ok(())
                },
                "quiet a=3",
            ),
            (
                "a=1 a=2",
                |k| {
                    k.append_if_missing("a=2 a=4");
                    Ok(())
                },
                "a=1 a=2 a=4",
            ),
            ("a=1 a=2 b", |k| k.delete("a=2"), "a=1 b"),
            ("a=1 b", |k| k.delete("a"), "b"),
            ("a=1 a b", |k| k.delete("a"), "a=1 b"),
            ("a=1 b", |k| k.delete_if_present("a=2"), "a=1 b"),
            ("a=1 b", |k| k.replace_existing("a=2"), "a=2 b"),
            ("a=1 a=2", |k| k.replace_existing("a=2=3"), "a=1 a=3"),
            ("a=\"1 2\" b", |k| k.delete("b"), "a=\"1 2\""),
            (
                "a=",
                |k| {
                    k.append("b=");
                    Ok(())
                },
                "a= b=",
            ),
        ];
        for (before, change, after) in table {
            let mut args = KernelArgs::parse(before);
            change(&mut args).unwrap();
            assert_eq!(args.to_string(), *after, "{before}");
        }
    }

    #[test]
    fn what_cannot_be_told_apart_is_refused() {
        let table: &[(&str, Change, &str)] = &[
            ("a=1", |k| k.delete("b"), "No key 'b' found"),
            ("a=1", |k| k.delete("a=2"), "No karg 'a=2' found"),
            (
                "a=1 a=2",
                |k| k.delete("a"),
                "Multiple values for key 'a' found",
            ),
            (
                "a=1 a=2",
                |k| k.replace_existing("a=3"),
                "Multiple values for key 'a' found",
            ),
            (
                "a=1",
                |k| k.replace_existing("a=2=3"),
                "No karg 'a=2' found",
            ),
        ];
        for (before, change, problem) in table {
            let mut args = KernelArgs::parse(before);
            assert_eq!(change(&mut args).unwrap_err().to_string(), *problem);
            assert_eq!(args.to_string(), *before);
        }
    }

    #[test]
    fn what_a_boot_loader_adds_is_not_recorded() {
        let line = "BOOT_IMAGE=(hd0)/v initrd=i root=x  ro ostree=/ostree/boot.0/a quiet\n";
        let args = KernelArgs::parse_running(line);
        assert_eq!(args.without_ostree().to_string(), "root=x ro quiet");
    }
}
