//! Trees with every oddity, and what two trees have different.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;
use treeferry_core::format::Checksum;

use super::chance::Chance;

/// What of a tree is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    /// Type, content, mode, owner, extended attributes.
    All,
    /// Type, content and permission bits: what a bare-user-only repository keeps.
    ContentOnly,
}

/// All that is known of one place in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    kind: &'static str,
    /// Hash of the content, or of the target.
    content: Option<Checksum>,
    mode: u32,
    owner: (u32, u32),
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Writes a file, and the directories above it.
pub(crate) fn write(root: &Path, path: impl AsRef<Path>, bytes: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

pub(crate) fn chmod(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn set_xattr(path: impl AsRef<Path>, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path.as_ref(), name, value, XattrFlags::empty()).unwrap();
}

/// The longest name that a directory entry can have.
pub(crate) fn longest_name(with: char) -> String {
    with.to_string().repeat(255 / with.len_utf8())
}

/// Makes a tree that anybody may own: names, contents, links, permission bits.
pub(crate) fn make_plain(root: &Path, seed: u64) {
    let mut chance = Chance::new(seed);
    fs::create_dir_all(root).unwrap();
    chmod(root, 0o755);
    for name in [
        "with space",
        "grün-日本語",
        ".leading-dot",
        "-leading-dash",
        "--help",
        "line\nend",
        "quote\"'`$back\\slash",
        "percent%41?query#fragment",
        "tab\there",
    ] {
        write(root, format!("names/{name}"), name.as_bytes());
        write(root, format!("names/dirs/{name}/inside"), b"same in all");
    }
    write(root, format!("names/{}", longest_name('n')), b"255 bytes");
    write(root, format!("names/{}/x", longest_name('ü')), b"254 bytes");
    write(root, OsStr::from_bytes(b"plain/a"), b"a");
    write(root, "plain/empty", b"");
    write(root, "plain/empty-too", b"");
    write(root, "plain/executable", b"#!/bin/sh\n");
    chmod(root.join("plain/executable"), 0o755);
    write(root, "plain/only-mine", b"secret");
    chmod(root.join("plain/only-mine"), 0o600);
    fs::create_dir_all(root.join("plain/no-files-here/nor-here")).unwrap();
    write(root, "big/random", &chance.bytes(3_000_000));
    write(root, "big/zeros", &vec![0; 2_000_000]);
    write(
        root,
        "big/text",
        "all work and no play\n".repeat(60_000).as_bytes(),
    );
    for at in 0..60 {
        let len = chance.among(1..3000) as usize;
        write(root, format!("many/{at:03}"), &chance.bytes(len));
    }
    fs::create_dir_all(root.join("links")).unwrap();
    symlink("../plain/a", root.join("links/good")).unwrap();
    symlink("/no/such/place", root.join("links/dangling")).unwrap();
    symlink("self", root.join("links/self")).unwrap();
    symlink(longest_name('l'), root.join("links/long")).unwrap();
    fs::hard_link(root.join("plain/a"), root.join("links/hard-link")).unwrap();
    chmod_dirs(root);
}

fn chmod_dirs(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            chmod(&path, 0o755);
            chmod_dirs(&path);
        }
    }
}

/// Makes a tree with every oddity. Needs root.
pub(crate) fn make_odd(root: &Path, seed: u64) {
    make_plain(root, seed);
    write(root, "odd/set-user-id", b"root for a moment");
    chmod(root.join("odd/set-user-id"), 0o4755);
    write(root, "odd/set-group-id", b"group for a moment");
    chmod(root.join("odd/set-group-id"), 0o2755);
    write(root, "odd/sticky-file", b"sticks");
    chmod(root.join("odd/sticky-file"), 0o1644);
    for (name, mode) in [("tmp", 0o1777), ("shared", 0o2775), ("closed", 0o700)] {
        write(root, format!("odd/{name}/inside"), name.as_bytes());
        chmod(root.join("odd").join(name), mode);
    }
    write(root, "odd/unreadable", b"nobody reads me");
    chmod(root.join("odd/unreadable"), 0o000);
    write(root, "odd/attributes", b"described");
    set_xattr(root.join("odd/attributes"), "user.b", b"two");
    // Not an empty one: OSTree leaves those out.
    set_xattr(root.join("odd/attributes"), "user.a", b"one");
    set_xattr(root.join("odd/attributes"), "trusted.t", &[0, 255, 10]);
    set_xattr(root.join("odd/tmp"), "user.of-a-directory", b"yes");
    // The capability net_bind_service, permitted and effective, as setcap writes it.
    let mut capability = vec![1, 0, 0, 2, 0, 4];
    capability.resize(20, 0);
    write(root, "odd/capable", b"binds low ports");
    chmod(root.join("odd/capable"), 0o755);
    set_xattr(root.join("odd/capable"), "security.capability", &capability);
    symlink("attributes", root.join("odd/labelled-link")).unwrap();
    set_xattr(
        root.join("odd/labelled-link"),
        "trusted.link",
        b"of the link",
    );
    for (name, uid, gid) in [("of-a-user", 1000, 1000), ("of-many", 4_000_000_000, 7)] {
        write(root, format!("odd/{name}"), name.as_bytes());
        std::os::unix::fs::chown(root.join("odd").join(name), Some(uid), Some(gid)).unwrap();
    }
    symlink("x", root.join("odd/link-of-a-user")).unwrap();
    std::os::unix::fs::lchown(root.join("odd/link-of-a-user"), Some(33), Some(34)).unwrap();
    std::os::unix::fs::chown(root.join("odd/shared"), Some(12), Some(34)).unwrap();
    chmod(root.join("odd/shared"), 0o2775);
    chmod(root.join("odd"), 0o755);
}

/// Makes the next version of a tree: something added, changed, removed, of another mode and type.
pub(crate) fn make_next(root: &Path, seed: u64) {
    let mut chance = Chance::new(seed);
    write(root, "plain/added", b"new");
    write(root, "big/random", &chance.bytes(2_500_000));
    fs::remove_file(root.join("many/007")).unwrap();
    fs::remove_dir_all(root.join("names/dirs")).unwrap();
    chmod(root.join("plain/executable"), 0o700);
    fs::remove_file(root.join("links/good")).unwrap();
    write(root, "links/good/now-a-directory", b"indeed");
    chmod(root.join("links/good"), 0o755);
}

/// Looks at all of a tree.
pub(crate) fn look(root: &Path, compare: Compare) -> BTreeMap<PathBuf, Node> {
    let mut nodes = BTreeMap::new();
    look_below(root, Path::new(""), compare, &mut nodes);
    nodes
}

fn look_below(root: &Path, at: &Path, compare: Compare, nodes: &mut BTreeMap<PathBuf, Node>) {
    let path = root.join(at);
    let node = look_at(&path, compare);
    if node.kind == "directory" {
        for entry in fs::read_dir(&path).unwrap() {
            look_below(root, &at.join(entry.unwrap().file_name()), compare, nodes);
        }
    }
    nodes.insert(at.to_owned(), node);
}

fn look_at(path: &Path, compare: Compare) -> Node {
    let meta = fs::symlink_metadata(path).unwrap();
    let kind = meta.file_type();
    let (kind, content) = if kind.is_dir() {
        ("directory", None)
    } else if kind.is_symlink() {
        let target = fs::read_link(path).unwrap();
        ("link", Some(Checksum::of(target.as_os_str().as_bytes())))
    } else if kind.is_file() {
        ("file", Some(Checksum::of(&fs::read(path).unwrap())))
    } else {
        let special = kind.is_char_device() || kind.is_fifo() || kind.is_socket();
        (if special { "special" } else { "unknown" }, None)
    };
    let all = compare == Compare::All;
    Node {
        kind,
        content,
        mode: meta.mode(),
        owner: if all {
            (meta.uid(), meta.gid())
        } else {
            (0, 0)
        },
        xattrs: if all { xattrs(path) } else { BTreeMap::new() },
    }
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0_u8; 65_536];
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let names = names[..len].split(|byte| *byte == 0);
    let names = names.filter(|name| !name.is_empty());
    let values = names.map(|name| {
        let mut value = vec![0_u8; 65_536];
        let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        value.truncate(len);
        (name.to_vec(), value)
    });
    values.collect()
}

/// Asserts that two trees are the same, and says where they are not.
#[track_caller]
pub(crate) fn assert_same(left: &Path, right: &Path, compare: Compare) {
    let (ours, theirs) = (look(left, compare), look(right, compare));
    let mut different = Vec::new();
    for (path, node) in &ours {
        if theirs.get(path) != Some(node) {
            different.push(format!("{path:?}: {node:?} / {:?}", theirs.get(path)));
        }
    }
    for path in theirs.keys().filter(|path| !ours.contains_key(*path)) {
        different.push(format!("{path:?}: only on the right"));
    }
    let (left, right) = (left.display(), right.display());
    assert!(
        different.is_empty(),
        "{left} and {right} differ in {} places:\n{}",
        different.len(),
        different[..different.len().min(10)].join("\n")
    );
}
