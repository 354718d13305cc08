//! Entries of the boot menu: files of the Boot Loader Specification, `loader/entries/ostree-N.conf`.

use std::fmt;

use treeferry_core::format::FormatError;

use crate::kargs::KernelArgs;
use crate::names::{BootLink, Stateroot};

/// One entry. Keys that are not known stay as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootEntry {
    keys: Vec<(String, String)>,
    initrds: Vec<String>,
    /// The name of the file it was read from.
    pub name: Option<EntryName>,
}

/// The keys that are written first, in this order; OSTree's.
const FIRST: [&str; 5] = ["title", "version", "options", "devicetree", "linux"];

impl BootEntry {
    /// Returns an entry with these kernel arguments and nothing else.
    pub fn with_args(args: &KernelArgs) -> Self {
        let mut entry = Self::default();
        entry.set("options", &args.to_string());
        entry
    }

    /// Reads an entry. Lines that do not begin with a letter are comments.
    pub fn parse(text: &str) -> Self {
        let mut entry = Self::default();
        for line in text.lines() {
            if !line.starts_with(|c: char| c.is_ascii_alphabetic()) {
                continue;
            }
            let Some((key, value)) = line.split_once([' ', '\t']) else {
                continue;
            };
            let value = value.trim_start_matches([' ', '\t']);
            match key {
                "initrd" => entry.initrds.push(value.to_owned()),
                _ => entry.set(key, value),
            }
        }
        entry
    }

    /// Returns the value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        if key == "initrd" {
            return self.initrds.first().map(String::as_str);
        }
        let found = self.keys.iter().find(|(k, _)| k == key);
        found.map(|(_, value)| value.as_str())
    }

    /// Sets a key.
    pub fn set(&mut self, key: &str, value: &str) {
        match self.keys.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => value.clone_into(old),
            None => self.keys.push((key.to_owned(), value.to_owned())),
        }
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) {
        self.keys.retain(|(k, _)| k != key);
    }

    /// Returns the initramfs and what is laid over it, in order.
    pub fn initrds(&self) -> &[String] {
        &self.initrds
    }

    /// Sets the initramfs and what is laid over it.
    pub fn set_initrds(&mut self, initrds: Vec<String>) {
        self.initrds = initrds;
    }

    /// Returns the kernel arguments.
    pub fn args(&self) -> KernelArgs {
        KernelArgs::parse(self.get("options").unwrap_or_default())
    }

    /// Returns whether it says any kernel arguments, if only none.
    pub fn has_args(&self) -> bool {
        self.get("options").is_some()
    }

    /// Returns where its `ostree=` argument leads; `None` when it has none.
    pub fn link(&self) -> Result<Option<BootLink>, FormatError> {
        self.args().last_value("ostree").map(str::parse).transpose()
    }

    /// Returns the keys that are not OSTree's own but some other program's, which begin with `x-`.
    pub fn extensions(&self) -> Vec<(&str, &str)> {
        let own = |(key, _): &&(String, String)| key.starts_with("x-");
        let found = self.keys.iter().filter(own);
        found.map(|(k, v)| (k.as_str(), v.as_str())).collect()
    }

    /// Returns what menus are sorted by, descending: the number in `version`, then the text.
    pub fn sort_key(&self) -> (u64, String) {
        let version = self.get("version").unwrap_or_default();
        (version.parse().unwrap_or(0), version.to_owned())
    }
}

impl fmt::Display for BootEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for key in FIRST {
            if let Some(value) = self.get(key) {
                writeln!(f, "{key} {value}")?;
            }
        }
        for initrd in &self.initrds {
            writeln!(f, "initrd {initrd}")?;
        }
        for (key, value) in &self.keys {
            if !FIRST.contains(&key.as_str()) {
                writeln!(f, "{key} {value}")?;
            }
        }
        Ok(())
    }
}

/// The name of an entry's file.
///
/// `ostree-RANK.conf`, as OSTree has named them since 2024.5; `ostree-RANK-STATEROOT.conf` before;
/// where `/boot` has no symbolic links, `ostree-GENERATION-RANK.conf`. Before `.conf` boot loaders
/// that count keep `+LEFT` or `+LEFT-DONE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryName {
    /// What stands between `ostree-` and the counter.
    pub stem: String,
    /// How often it may still be tried, where that is counted.
    pub tries: Option<Tries>,
}

/// How often an entry was tried since it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// How often it may still be tried.
    pub left: u32,
    /// How often it was, if the boot loader did count.
    pub done: Option<u32>,
}

/// How entries are named.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EntryNaming {
    /// By rank alone, as OSTree since 2024.5: GRUB sorts by file name.
    #[default]
    Rank,
    /// By rank and stateroot, as OSTree before.
    RankAndStateroot,
}

impl EntryName {
    /// Returns the name of the entry at `rank`; the highest is the default.
    pub fn new(naming: EntryNaming, rank: u32, stateroot: &Stateroot) -> Self {
        let stem = match naming {
            EntryNaming::Rank => rank.to_string(),
            EntryNaming::RankAndStateroot => format!("{rank}-{stateroot}"),
        };
        Self { stem, tries: None }
    }

    /// Reads a file name; `None` when it is not one of ours.
    pub fn parse(name: &str) -> Option<Self> {
        let inner = name.strip_prefix("ostree-")?.strip_suffix(".conf")?;
        let Some((stem, counter)) = inner.rsplit_once('+') else {
            return Some(Self {
                stem: inner.to_owned(),
                tries: None,
            });
        };
        let (left, done) = match counter.split_once('-') {
            Some((left, done)) => (left, Some(done.parse().ok()?)),
            None => (counter, None),
        };
        let tries = Tries {
            left: left.parse().ok()?,
            done,
        };
        Some(Self {
            stem: stem.to_owned(),
            tries: Some(tries),
        })
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ostree-{}", self.stem)?;
        match self.tries {
            None => {}
            Some(Tries { left, done: None }) => write!(f, "+{left}")?,
            Some(Tries {
                left,
                done: Some(done),
            }) => write!(f, "+{left}-{done}")?,
        }
        f.write_str(".conf")
    }
}

/// Returns the counter that a newly written entry carries: a new deployment gets `tries`, one that
/// is there already keeps what is left, and one that has proven itself is not counted any more.
pub fn counter_of(before: Option<&EntryName>, tries: Option<u32>) -> Option<Tries> {
    let tries = tries.filter(|&tries| tries > 0)?;
    match before {
        None => Some(Tries {
            left: tries,
            done: None,
        }),
        Some(EntryName { tries: None, .. }) => None,
        Some(EntryName {
            tries: Some(Tries { left, done }),
            ..
        }) => match (left, done.unwrap_or(0)) {
            (0, 0) => None,
            (left, done) => Some(Tries {
                left: *left,
                done: Some(done),
            }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_keeps_what_it_does_not_know() {
        let text = "title A (ostree:0)\nversion 2\noptions quiet\nlinux /v\ninitrd /i\ninitrd /o\n\
                    x-tuned a b\nfdtdir /d\n";
        let entry = BootEntry::parse(&format!("# comment\n{text}"));
        assert_eq!(entry.to_string(), text);
        assert_eq!(entry.initrds(), ["/i", "/o"]);
        assert_eq!(entry.extensions(), [("x-tuned", "a b")]);
    }

    #[test]
    fn file_names_of_all_ages_are_read_and_written() {
        for (name, stem, left, done) in [
            ("ostree-2.conf", "2", None, None),
            ("ostree-2-debian.conf", "2-debian", None, None),
            ("ostree-2+3.conf", "2", Some(3), None),
            ("ostree-2-os+0-3.conf", "2-os", Some(0), Some(3)),
        ] {
            let parsed = EntryName::parse(name).unwrap();
            assert_eq!(parsed.stem, stem);
            assert_eq!(parsed.tries.map(|t| t.left), left);
            assert_eq!(parsed.tries.and_then(|t| t.done), done);
            assert_eq!(parsed.to_string(), name);
        }
        for foreign in ["loader.conf", "ostree-2.conf.new", "ostree-2+x.conf"] {
            assert_eq!(EntryName::parse(foreign), None);
        }
    }

    #[test]
    fn a_counter_is_given_kept_and_dropped() {
        let parse = |name| EntryName::parse(name);
        let shown = |before, tries| {
            let tries = counter_of(parse(before).as_ref(), tries);
            tries.map(|t| (t.left, t.done))
        };
        assert_eq!(shown("", Some(3)), Some((3, None)));
        assert_eq!(shown("ostree-1.conf", Some(3)), None);
        assert_eq!(shown("ostree-1+3.conf", Some(3)), Some((3, Some(0))));
        assert_eq!(shown("ostree-1+1-2.conf", Some(3)), Some((1, Some(2))));
        assert_eq!(shown("ostree-1+0-0.conf", Some(3)), None);
        assert_eq!(shown("", None), None);
        assert_eq!(shown("ostree-1+1-2.conf", None), None);
    }
}
