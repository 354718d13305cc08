//! Names that come from outside and end up in paths: checked once, when they are read.

use std::fmt;
use std::str::FromStr;

use super::FormatError;

/// The longest name of a directory entry, bytes; what Linux filesystems allow.
pub const FILE_NAME_BYTES_MAX: usize = 255;

/// Checks the name of a directory entry: UTF-8, 1 to 255 bytes, no `/`, no NUL, neither `.` nor `..`.
pub fn check_file_name(name: &str) -> Result<(), FormatError> {
    let problem = match name {
        "" => "an entry has an empty name",
        "." | ".." => "an entry is named '.' or '..', which would lead out of its directory",
        _ if name.contains('/') => "an entry's name contains '/'",
        _ if name.contains('\0') => "an entry's name contains a NUL byte",
        _ if name.len() > FILE_NAME_BYTES_MAX => "an entry's name is longer than 255 bytes",
        _ => return Ok(()),
    };
    Err(FormatError::new("file name", problem))
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks and wraps a name.
            pub fn new(name: &str) -> Result<Self, FormatError> {
                $check(name)?;
                Ok(Self(name.into()))
            }

            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = FormatError;

            fn from_str(text: &str) -> Result<Self, FormatError> {
                Self::new(text)
            }
        }
    };
}

name_type! {
    /// The name of a branch, without remote: `os/stable/x86_64`.
    ///
    /// One or more parts separated by `/`, each of letters, digits, `-`, `.`, `_`, starting with a
    /// letter, a digit or `_` (OSTree's rule for ref names).
    Branch, check_branch
}
name_type! {
    /// The name of a configured remote: like one part of a branch name.
    RemoteName, check_remote_name
}
name_type! {
    /// A collection id: reverse DNS such as `org.example.Os`.
    CollectionId, check_collection_id
}

fn check_branch(name: &str) -> Result<(), FormatError> {
    let fail = |problem: &'static str| Err(FormatError::new("ref name", problem));
    if name.len() > 4096 {
        return fail("is longer than 4096 bytes");
    }
    if name.split('/').all(is_name_part) {
        return Ok(());
    }
    fail(
        "expected parts of letters, digits, '-', '.' and '_', not starting with '-' or '.', \
         separated by single '/'",
    )
}

fn check_remote_name(name: &str) -> Result<(), FormatError> {
    if is_name_part(name) {
        return Ok(());
    }
    let problem = "expected letters, digits, '-', '.' and '_', not starting with '-' or '.'";
    Err(FormatError::new("remote name", problem))
}

// OSTree matches names with `[\w\d][-._\w\d]*`: `\w` is a word character in any script.
fn is_name_part(part: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut chars = part.chars();
    part.len() <= FILE_NAME_BYTES_MAX
        && chars.next().is_some_and(word)
        && chars.all(|c| word(c) || c == '-' || c == '.')
}

fn check_collection_id(id: &str) -> Result<(), FormatError> {
    let element = |e: &str| {
        e.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && e.bytes().next().is_some_and(|b| !b.is_ascii_digit())
    };
    if id.len() <= 255 && id.contains('.') && id.split('.').all(element) {
        return Ok(());
    }
    let problem = "expected a reverse DNS name such as org.example.Os: at least two elements of \
                   letters, digits and '_', none starting with a digit";
    Err(FormatError::new("collection id", problem))
}

/// A ref as users write it: `branch` or `remote:branch`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Refspec {
    /// The remote, when one is named.
    pub remote: Option<RemoteName>,
    /// The branch.
    pub branch: Branch,
}

impl FromStr for Refspec {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        match text.split_once(':') {
            Some((remote, branch)) => Ok(Self {
                remote: Some(remote.parse()?),
                branch: branch.parse()?,
            }),
            None => Ok(Self {
                remote: None,
                branch: text.parse()?,
            }),
        }
    }
}

impl fmt::Display for Refspec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.remote {
            Some(remote) => write!(f, "{remote}:{}", self.branch),
            None => write!(f, "{}", self.branch),
        }
    }
}

impl fmt::Debug for Refspec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
