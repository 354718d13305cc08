//! What has to change so that the machine boots a new list of deployments. Pure.
//!
//! The boot menu is in `boot/loader`, a link to `loader.0` or `loader.1`; the entries name a set of
//! links, `ostree/boot.0` or `ostree/boot.1`, itself a link to `boot.N.0` or `boot.N.1`. Where all
//! entries stay as they are, the second link is exchanged; else both are made anew for the other
//! turn, and the one rename of `loader` is the moment at which the machine changes.

use std::collections::HashMap;

use treeferry_core::format::Checksum;

use crate::boot_entry::Tries;
use crate::kargs::KernelArgs;
use crate::names::{DeploymentId, Stateroot, Turn};

/// The turn of the boot menu, and of the links that it names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BootVersion {
    /// Of `boot/loader` and `ostree/boot.N`.
    pub loader: Turn,
    /// Of `ostree/boot.N.M`.
    pub links: Turn,
}

/// What an entry of the menu shows of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The deployment.
    pub id: DeploymentId,
    /// Kernel, initramfs and device trees.
    pub bootcsum: Option<Checksum>,
    /// What is laid over the initramfs.
    pub overlay_initrds: Vec<Checksum>,
    /// Kernel arguments without `ostree=`.
    pub args: KernelArgs,
    /// The version of the commit, which stands in the title.
    pub version: Option<String>,
    /// How often it may be tried, which stands in the name of the entry's file.
    pub tries: Option<Tries>,
}

/// What has to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// Nothing.
    Nothing,
    /// The links alone: the menu says the same as before.
    Links,
    /// The menu.
    Loader,
}

/// Decides what has to change from `old` to `new`.
pub fn decide(old: &[Shown], new: &[Shown]) -> Switch {
    if old.len() != new.len() {
        return Switch::Loader;
    }
    let mut pairs = old.iter().zip(new);
    if pairs.clone().any(|(old, new)| !same_entry(old, new)) {
        return Switch::Loader;
    }
    match pairs.all(|(old, new)| old.id == new.id) {
        true => Switch::Nothing,
        false => Switch::Links,
    }
}

fn same_entry(old: &Shown, new: &Shown) -> bool {
    old.bootcsum == new.bootcsum
        && old.overlay_initrds == new.overlay_initrds
        && old.args == new.args
        && old.version == new.version
        && old.tries == new.tries
        && old.id.stateroot == new.id.stateroot
}

/// Numbers deployments that boot from the same files, in order.
pub fn boot_serials(bootcsums: &[Option<Checksum>]) -> Vec<u32> {
    let mut seen: HashMap<Option<Checksum>, u32> = HashMap::new();
    let mut number = |csum: &Option<Checksum>| {
        let next = seen.entry(*csum).or_default();
        *next += 1;
        *next - 1
    };
    bootcsums.iter().map(&mut number).collect()
}

/// Returns the title of an entry.
pub fn title(
    os_name: &str,
    version: Option<&str>,
    stateroot: Option<&Stateroot>,
    index: usize,
) -> String {
    let mut title = os_name.to_owned();
    if let Some(version) = version.filter(|v| !v.is_empty() && !os_name.contains(v)) {
        title += &format!(" {version}");
    }
    match stateroot {
        Some(stateroot) => title + &format!(" (ostree:{stateroot}:{index})"),
        None => title + &format!(" (ostree:{index})"),
    }
}

/// Returns the name of the system, and whether it is there at all, from `os-release`.
pub fn os_name(os_release: &str) -> Option<String> {
    let value = |key: &str| {
        let lines = os_release.lines().map(str::trim);
        let found = lines.filter(|line| !line.starts_with('#'));
        let mut found = found.filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        found.next_back().map(unquoted)
    };
    value("PRETTY_NAME").or_else(|| value("ID"))
}

/// Returns a value as a shell would read it.
fn unquoted(value: &str) -> String {
    let inner = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    if let Some(inner) = inner('\'') {
        return inner.to_owned();
    }
    let inner = inner('"').unwrap_or(value);
    let mut text = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.extend(chars.next()),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: &str, csum: &str, args: &str, version: &str) -> Shown {
        let (os, serial) = name.split_once('.').unwrap();
        Shown {
            id: DeploymentId {
                stateroot: Stateroot::new(os).unwrap(),
                checksum: Checksum::of(b"commit"),
                serial: serial.parse().unwrap(),
            },
            bootcsum: Some(Checksum::of(csum.as_bytes())),
            overlay_initrds: Vec::new(),
            args: KernelArgs::parse(args),
            version: Some(version.to_owned()),
            tries: None,
        }
    }

    #[test]
    fn only_what_the_menu_shows_needs_a_new_menu() {
        let a = shown("os.0", "k1", "quiet", "1");
        let same = shown("os.1", "k1", "quiet", "1");
        let mut overlaid = same.clone();
        overlaid.overlay_initrds.push(Checksum::of(b"cpio"));
        let mut counted = same.clone();
        counted.tries = Some(Tries {
            left: 3,
            done: None,
        });
        for (new, expected) in [
            (vec![a.clone()], Switch::Nothing),
            (vec![same.clone()], Switch::Links),
            (vec![], Switch::Loader),
            (vec![a.clone(), same.clone()], Switch::Loader),
            (vec![shown("os.1", "k2", "quiet", "1")], Switch::Loader),
            (vec![shown("os.1", "k1", "loud", "1")], Switch::Loader),
            (vec![shown("os.1", "k1", "quiet", "2")], Switch::Loader),
            (vec![shown("other.0", "k1", "quiet", "1")], Switch::Loader),
            (vec![overlaid], Switch::Loader),
            (vec![counted], Switch::Loader),
        ] {
            assert_eq!(decide(std::slice::from_ref(&a), &new), expected, "{new:?}");
        }
    }

    #[test]
    fn deployments_with_one_kernel_are_numbered() {
        let [a, b] = [Some(Checksum::of(b"a")), Some(Checksum::of(b"b"))];
        assert_eq!(boot_serials(&[a, b, a, a, b]), [0, 0, 1, 2, 1]);
    }

    #[test]
    fn titles_say_the_version_once() {
        let os = Stateroot::new("os").unwrap();
        assert_eq!(title("X 1", Some("1.2"), None, 0), "X 1 1.2 (ostree:0)");
        assert_eq!(title("X 1", Some("1"), Some(&os), 3), "X 1 (ostree:os:3)");
        assert_eq!(title("X", None, None, 1), "X (ostree:1)");
    }

    #[test]
    fn the_name_of_a_system_is_read_as_a_shell_would() {
        for (text, name) in [
            (
                "NAME=x\nPRETTY_NAME=\"Te\\\"st 1\"\nID=t\n",
                Some("Te\"st 1"),
            ),
            ("ID=t\n#PRETTY_NAME=no\n", Some("t")),
            ("PRETTY_NAME='a b'\n", Some("a b")),
            ("NAME=x\n", None),
        ] {
            assert_eq!(os_name(text).as_deref(), name);
        }
    }
}
