//! One entry of an archive.

use crate::error::{Error, Result};
use crate::format::{TREE_DEPTH_MAX, Xattrs, check_file_name};
use crate::ops::commit::rules::Owned;
use crate::store::Payload;

/// One entry of an archive, its path relative to the root of the tree.
#[derive(Debug)]
pub(super) struct Entry {
    /// Parts separated by `/`; empty for the root.
    pub(super) path: Box<str>,
    /// The mode with the type of file; of a hard link that of a regular file.
    pub(super) owned: Owned,
    pub(super) xattrs: Xattrs,
    pub(super) kind: Kind,
}

/// What an entry is.
#[derive(Debug)]
pub(super) enum Kind {
    Dir,
    Symlink(Box<str>),
    /// Another name of what is at this path.
    HardLink(Box<str>),
    File {
        bytes: u64,
        content: Payload,
    },
}

/// Takes what stands before a path away: `/`, `./`, and after a `/` also `../`, above which nothing is.
pub(super) fn without_start(path: &str) -> &str {
    let mut rest = path;
    while let Some(after) = rest.strip_prefix('/') {
        rest = match after {
            "." | ".." => "",
            _ if after.starts_with("./") => &after[1..],
            _ if after.starts_with("../") => &after[2..],
            _ => after,
        };
    }
    while let Some(after) = rest.strip_prefix("./") {
        rest = after.trim_start_matches('/');
    }
    rest
}

/// Returns the path without what leads nowhere: empty parts, `.`, a `/` at the end.
///
/// [`Invalid`](crate::ErrorKind::Invalid) when it would lead out of the tree.
pub(super) fn normal(path: &str) -> Result<Box<str>> {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    let parts: Vec<_> = parts.collect();
    for part in &parts {
        check_file_name(part).map_err(|e| {
            Error::invalid(format!("entry {path:?} has no path in a tree")).because(e)
        })?;
    }
    if parts.len() > TREE_DEPTH_MAX {
        let problem = format!("entry {path:?} lies more than {TREE_DEPTH_MAX} directories deep");
        return Err(Error::invalid(problem));
    }
    Ok(parts.join("/").into())
}

/// Reads bytes as text, which all names in a tree are.
pub(super) fn text<'a>(bytes: &'a [u8], what: &str) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|e| {
        let lossy = String::from_utf8_lossy(bytes);
        Error::invalid(format!("{what} of an entry is not UTF-8: {lossy}")).because(e)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_to_the_root() {
        let taken = |path| normal(without_start(path)).map(String::from);
        for (path, expected) in [
            ("./", ""),
            (".", ""),
            ("", ""),
            ("/", ""),
            ("/abs/y", "abs/y"),
            ("./a//b/", "a/b"),
            ("a/./b", "a/b"),
            ("/../x", "x"),
            ("/./../x", "x"),
            ("//./x", "x"),
            (".hidden", ".hidden"),
            ("..data/x", "..data/x"),
            ("/..data", "..data"),
        ] {
            assert_eq!(taken(path).expect(path), expected, "{path}");
        }
        for path in ["../x", "./../x", "a/../b", "a/..", "a\0b", "/a/../.."] {
            assert!(taken(path).is_err(), "{path}");
        }
    }
}
