//! The one error of the pure format layer: where, what was expected, what was found.

use std::borrow::Cow;

/// A byte string that is not what its format demands.
///
/// Says which value was being read (`what`, such as `"dirtree"` or `"config file"`), where in it
/// (`at`, a byte offset or a line number, when known), and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}{}: {problem}", self.place())]
pub struct FormatError {
    what: &'static str,
    at: Option<Place>,
    problem: Cow<'static, str>,
}

/// Where in the input an error lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A byte offset from the start of the value.
    Byte(u64),
    /// A line number, from 1.
    Line(u64),
}

impl FormatError {
    /// Creates an error about the value called `what`.
    pub fn new(what: &'static str, problem: impl Into<Cow<'static, str>>) -> Self {
        Self {
            what,
            at: None,
            problem: problem.into(),
        }
    }

    /// Adds the byte offset or line at which the problem was seen.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.at = Some(place);
        self
    }

    /// Returns this error as one about the enclosing value called `what`.
    #[must_use]
    pub fn within(mut self, what: &'static str) -> Self {
        if self.what != what {
            self.problem = Cow::Owned(format!("{}: {}", self.what, self.problem));
            self.what = what;
        }
        self
    }

    /// Returns the name of the value that was being read.
    pub fn what(&self) -> &'static str {
        self.what
    }

    fn place(&self) -> String {
        match self.at {
            None => String::new(),
            Some(Place::Byte(n)) => format!(" at byte {n}"),
            Some(Place::Line(n)) => format!(" at line {n}"),
        }
    }
}
