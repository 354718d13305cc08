//! What goes wrong, as it is told on the terminal: `error: outer: inner`.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use crate::session::Name;
use crate::{own_words, words};

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why a verb did not do its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line is not understood: the verb's help is shown before the message.
    Usage(String),
    /// A message for the user.
    Message(String),
    /// An error of the library.
    Library(treeferry_core::Error),
    /// Nobody reads what is printed any more: the end, but nothing to tell.
    Closed,
}

impl Failure {
    /// Returns a failure with that message.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::Message(message.into())
    }

    /// Returns a failure to use the command line as it is meant.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// Returns this failure as it is told by that name: as scripts expect it of OSTree's, and as
    /// people understand it by our own.
    pub(crate) fn in_words_of(self, name: Name) -> Self {
        if name == Name::Treeferry {
            return match self {
                Self::Usage(text) => Self::Usage(own_words::of(&text).unwrap_or(text)),
                Self::Message(text) => Self::Message(own_words::of(&text).unwrap_or(text)),
                Self::Library(error) => match own_words::of(&error.to_string()) {
                    Some(text) => Self::Message(text),
                    None => Self::Library(error),
                },
                Self::Closed => Self::Closed,
            };
        }
        let words = match (&self, name) {
            (Self::Library(error), Name::Ostree) => {
                let told = || words::of_text(&self.to_string());
                words::of(error).or_else(told).or_else(|| {
                    words::is_incomplete(error).then(|| format!("Download incomplete: {self}"))
                })
            }
            _ => None,
        };
        words.map_or(self, Self::Message)
    }

    /// Returns this failure with what to do about it.
    pub(crate) fn with_help(self, help: &str) -> Self {
        match self {
            Self::Closed => Self::Closed,
            failure => Self::Message(format!("{failure}; {help}")),
        }
    }

    /// Returns this failure with `what` was being done before it.
    pub(crate) fn context(self, what: impl fmt::Display) -> Self {
        match self {
            Self::Closed => Self::Closed,
            failure => Self::Message(format!("{what}: {failure}")),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Message(message) => f.write_str(message),
            Self::Library(error) => write_chain(f, error),
            Self::Closed => f.write_str("the output was closed"),
        }
    }
}

/// Writes an error and what caused it, without repeating what the outer one says already.
fn write_chain(f: &mut fmt::Formatter<'_>, error: &dyn StdError) -> fmt::Result {
    let mut said = without_number(&error.to_string()).to_owned();
    f.write_str(&said)?;
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        let text = without_number(&text);
        if !said.ends_with(text) {
            write!(f, ": {text}")?;
        }
        said = text.to_owned();
        cause = error.source();
    }
    Ok(())
}

impl From<treeferry_core::Error> for Failure {
    fn from(error: treeferry_core::Error) -> Self {
        Self::Library(error)
    }
}

impl From<treeferry_core::format::FormatError> for Failure {
    fn from(error: treeferry_core::format::FormatError) -> Self {
        Self::Message(error.to_string())
    }
}

// Only what is printed comes as a bare I/O error: files are named by who reads them.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Message(format!("writing the output: {error}")),
        }
    }
}

/// Says of a file or directory of this machine what went wrong with it.
pub(crate) fn io_failure(path: impl AsRef<std::path::Path>, error: &io::Error) -> Failure {
    let (path, error) = (path.as_ref().display(), error.to_string());
    Failure::Message(format!("{path}: {}", without_number(&error)))
}

/// Returns the text of a system's error without its number, ` (os error 2)`.
fn without_number(text: &str) -> &str {
    match text.rsplit_once(" (os error ") {
        Some((text, number)) if number.ends_with(')') => text,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_of_causes_is_one_line_that_says_nothing_twice() {
        let error = io::Error::from_raw_os_error(2);
        let error = treeferry_core::Error::io("cannot be opened", error);
        let failure = Failure::from(error.context("core.parent")).context("opening repo");
        let text = "opening repo: core.parent: cannot be opened: No such file or directory";
        assert_eq!(failure.to_string(), text);
    }
}
