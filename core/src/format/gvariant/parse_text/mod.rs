//! Reading the text form of values.
//!
//! Text is first read into a tree of what is written, without types: `1` may be a number of any
//! type. The type is then either given or inferred from the whole tree, and the tree turned into a
//! value of that type.

mod infer;
mod resolve;
mod syntax;
mod token;

use super::{Type, Value};
use crate::format::{FormatError, Place};

impl Value {
    /// Reads the text form of a value, of type `ty` if given and of the type it implies otherwise.
    pub fn parse_text(text: &str, ty: Option<&Type>) -> Result<Self, FormatError> {
        let node = syntax::parse(text)?;
        match ty {
            Some(ty) => resolve::resolve(&node, ty),
            None => resolve::resolve(&node, &infer::infer(&node)?),
        }
    }
}

/// A value as it is written, and where.
struct Node<'a> {
    at: usize,
    form: Form<'a>,
}

enum Form<'a> {
    Bool(bool),
    /// A number that was not looked into yet.
    Number(&'a str),
    Str(String),
    Bytes(Vec<u8>),
    Nothing,
    Just(Box<Node<'a>>),
    Variant(Box<Node<'a>>),
    Array(Vec<Node<'a>>),
    Tuple(Vec<Node<'a>>),
    /// `{k: v, ...}`
    Dict(Vec<(Node<'a>, Node<'a>)>),
    /// `{k, v}`
    Entry(Box<(Node<'a>, Node<'a>)>),
    /// A value after a type or keyword.
    Typed(Type, Box<Node<'a>>),
}

/// Returns an error about the text at the byte offset `at`.
fn error(at: usize, problem: impl Into<std::borrow::Cow<'static, str>>) -> FormatError {
    FormatError::new("GVariant text", problem).at(Place::Byte(at as u64))
}
