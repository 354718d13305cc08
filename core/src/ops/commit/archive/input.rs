//! Where an archive comes from, and how its paths are taken.

use std::fmt::{self, Debug};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use regex::bytes::{Regex, RegexBuilder};

use crate::error::{Error, Result};

/// How much memory one compiled expression may take, bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// An archive, tar or cpio, not compressed. It can be read once; clones are the same archive.
#[derive(Clone)]
pub struct ArchiveInput {
    reader: Arc<Mutex<Option<Box<dyn Read + Send>>>>,
    origin: Arc<Path>,
    pub(super) parents: MissingParents,
    pub(super) rename: Option<PathRename>,
}

/// What becomes of an entry whose directory is not in the tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MissingParents {
    /// It is refused.
    #[default]
    Refuse,
    /// The directory is made, of mode 0755 and owned like the entry. So is the root of an archive that
    /// has none.
    Create,
}

impl ArchiveInput {
    /// Takes what `reader` gives, with blocking calls, for an archive. `origin` names it in messages.
    pub fn new(reader: impl Read + Send + 'static, origin: impl Into<PathBuf>) -> Self {
        Self {
            reader: Arc::new(Mutex::new(Some(Box::new(reader)))),
            origin: origin.into().into(),
            parents: MissingParents::default(),
            rename: None,
        }
    }

    /// Sets what becomes of entries whose directories are not in the tree.
    #[must_use]
    pub fn missing_parents(mut self, parents: MissingParents) -> Self {
        self.parents = parents;
        self
    }

    /// Changes the paths of entries, and those that hard links lead to, before they are taken.
    #[must_use]
    pub fn rename(mut self, rename: PathRename) -> Self {
        self.rename = Some(rename);
        self
    }

    /// Returns what names the archive in messages.
    pub(super) fn origin(&self) -> &Path {
        &self.origin
    }

    /// Takes the reader out: an archive that comes over a pipe cannot be read again.
    pub(super) fn take_reader(&self) -> Result<Box<dyn Read + Send>> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        reader
            .take()
            .ok_or_else(|| Error::invalid("the archive has been read already").about(self.origin()))
    }
}

impl Debug for ArchiveInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchiveInput")
            .field("origin", &self.origin)
            .field("parents", &self.parents)
            .field("rename", &self.rename)
            .finish_non_exhaustive()
    }
}

/// Replaces whatever matches a regular expression in the paths of an archive.
///
/// Paths are given as they stand in the archive, without a leading `/` or `./`; those of directories
/// may end in `/`.
#[derive(Debug, Clone)]
pub struct PathRename {
    expression: Regex,
    replacement: Box<str>,
}

impl PathRename {
    /// Reads an expression, in the dialect of Perl but without look-around and back references, and
    /// what takes the place of its matches: `\0` to `\9` and `\g<N>` are its groups, `\\` is `\`.
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when one of them is not well formed.
    pub fn new(expression: &str, replacement: &str) -> Result<Self> {
        let mut builder = RegexBuilder::new(expression);
        builder.size_limit(REGEX_BYTES_MAX).unicode(false);
        let compiled = builder.build().map_err(|e| {
            Error::invalid(format!("'{expression}' is not a regular expression")).because(e)
        })?;
        Ok(Self {
            expression: compiled,
            replacement: groups_as_dollars(replacement)?.into(),
        })
    }

    /// Returns the changed path.
    pub(super) fn apply(&self, path: &str) -> Result<String> {
        let bytes = self
            .expression
            .replace_all(path.as_bytes(), self.replacement.as_bytes());
        String::from_utf8(bytes.into_owned())
            .map_err(|e| Error::invalid(format!("{path} is renamed to no UTF-8")).because(e))
    }
}

/// Writes groups as `${N}`, the way the crate that matches has them.
fn groups_as_dollars(text: &str) -> Result<String> {
    let malformed = || Error::invalid(format!("'{text}' is no replacement: see \\ in it"));
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '$']) {
        out.push_str(&rest[..at]);
        let special = &rest[at..];
        let after = &special[1..];
        if special.starts_with('$') {
            out.push_str("$$");
            rest = after;
            continue;
        }
        let next = after.chars().next().ok_or_else(malformed)?;
        rest = &after[next.len_utf8()..];
        match next {
            '\\' => out.push('\\'),
            'n' => out.push('\n'),
            't' => out.push('\t'),
            '0'..='9' => out.push_str(&format!("${{{next}}}")),
            'g' => {
                let inner = rest.strip_prefix('<').and_then(|rest| rest.split_once('>'));
                let (group, behind) = inner.ok_or_else(malformed)?;
                out.push_str(&format!("${{{group}}}"));
                rest = behind;
            }
            _ => return Err(malformed()),
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_put_in_and_dollars_are_not() {
        let renamed = |expression, replacement, path| {
            let rename = PathRename::new(expression, replacement).expect("well formed");
            rename.apply(path).expect("UTF-8")
        };
        assert_eq!(renamed("^", "foo/", "usr/bin/"), "foo/usr/bin/");
        assert_eq!(renamed("^(d)/", "\\1x/\\0y", "d/f"), "dx/d/yf");
        assert_eq!(renamed("b(.)", "\\g<1>$1\\\\", "abc"), "ac$1\\");
        assert_eq!(renamed("/bin/", "/sbin/", "ü/bin/ö"), "ü/sbin/ö");
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        assert!(PathRename::new("(", "x").is_err());
        for replacement in ["\\", "\\q", "\\g<1"] {
            assert!(PathRename::new("a", replacement).is_err(), "{replacement}");
        }
    }
}
