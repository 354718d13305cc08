//! From tokens to the tree of what is written.

use super::token::{Kind, Token, token, unescape, unescape_bytes};
use super::{Form, Node, error};
use crate::format::FormatError;
use crate::format::gvariant::{MAX_TYPE_DEPTH, Type};

/// Returns the one value that `text` is.
pub(super) fn parse(text: &str) -> Result<Node<'_>, FormatError> {
    let (next, end) = token(text, 0)?;
    let mut parser = Parser { text, next, end };
    let node = parser.value(MAX_TYPE_DEPTH)?;
    match parser.next.kind {
        Kind::End => Ok(node),
        _ => Err(error(parser.next.at, "expected the end of the text")),
    }
}

struct Parser<'a> {
    text: &'a str,
    /// The token that is looked at.
    next: Token<'a>,
    /// Where it ends.
    end: usize,
}

impl<'a> Parser<'a> {
    fn advance(&mut self) -> Result<Token<'a>, FormatError> {
        let (next, end) = token(self.text, self.end)?;
        self.end = end;
        Ok(std::mem::replace(&mut self.next, next))
    }

    /// Skips the punctuation `mark` if it is next, and returns whether it was.
    fn skip(&mut self, mark: u8) -> Result<bool, FormatError> {
        let found = self.next.kind == Kind::Punctuation(mark);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, mark: u8) -> Result<(), FormatError> {
        if self.skip(mark)? {
            return Ok(());
        }
        Err(error(
            self.next.at,
            format!("expected {:?}", char::from(mark)),
        ))
    }

    fn value(&mut self, depth: usize) -> Result<Node<'a>, FormatError> {
        let Token { at, kind } = self.advance()?;
        let depth = depth
            .checked_sub(1)
            .ok_or_else(|| error(at, "values are nested too deeply"))?;
        let form = match kind {
            Kind::Number(number) => Form::Number(number),
            Kind::Str(text) => Form::Str(unescape(text, at)?),
            Kind::Bytes(text) => Form::Bytes(unescape_bytes(text)),
            Kind::Type(ty) => {
                let ty = Type::parse(ty).map_err(|_| error(at, "invalid type"))?;
                Form::Typed(ty, Box::new(self.value(depth)?))
            }
            Kind::Word(word) => self.word(word, at, depth)?,
            Kind::Punctuation(b'<') => {
                let inner = self.value(depth)?;
                self.expect(b'>')?;
                Form::Variant(Box::new(inner))
            }
            Kind::Punctuation(b'[') => Form::Array(self.list(b']', depth)?),
            Kind::Punctuation(b'(') => self.tuple(depth)?,
            Kind::Punctuation(b'{') => self.braces(depth)?,
            Kind::Punctuation(_) | Kind::End => return Err(error(at, "expected a value")),
        };
        Ok(Node { at, form })
    }

    fn word(&mut self, word: &'a str, at: usize, depth: usize) -> Result<Form<'a>, FormatError> {
        let ty = match word {
            "true" => return Ok(Form::Bool(true)),
            "false" => return Ok(Form::Bool(false)),
            "inf" | "nan" => return Ok(Form::Number(word)),
            "nothing" => return Ok(Form::Nothing),
            "just" => return Ok(Form::Just(Box::new(self.value(depth)?))),
            "boolean" => Type::Bool,
            "byte" => Type::Byte,
            "int16" => Type::I16,
            "uint16" => Type::U16,
            "int32" => Type::I32,
            "uint32" => Type::U32,
            "int64" => Type::I64,
            "uint64" => Type::U64,
            "handle" => Type::Handle,
            "double" => Type::Double,
            "string" => Type::Str,
            "objectpath" => Type::ObjectPath,
            "signature" => Type::Signature,
            _ => return Err(error(at, format!("unknown keyword {word:?}"))),
        };
        Ok(Form::Typed(ty, Box::new(self.value(depth)?)))
    }

    /// Returns the values up to the bracket `close`.
    fn list(&mut self, close: u8, depth: usize) -> Result<Vec<Node<'a>>, FormatError> {
        let mut values = Vec::new();
        if self.skip(close)? {
            return Ok(values);
        }
        loop {
            values.push(self.value(depth)?);
            if self.skip(close)? {
                return Ok(values);
            }
            self.expect(b',')?;
        }
    }

    fn tuple(&mut self, depth: usize) -> Result<Form<'a>, FormatError> {
        if self.skip(b')')? {
            return Ok(Form::Tuple(Vec::new()));
        }
        let first = self.value(depth)?;
        // A lone member needs a comma, and only then may a comma come last.
        self.expect(b',')?;
        let mut members = vec![first];
        if self.skip(b')')? {
            return Ok(Form::Tuple(members));
        }
        members.push(self.value(depth)?);
        while !self.skip(b')')? {
            self.expect(b',')?;
            members.push(self.value(depth)?);
        }
        Ok(Form::Tuple(members))
    }

    fn braces(&mut self, depth: usize) -> Result<Form<'a>, FormatError> {
        let mut entries = Vec::new();
        if self.skip(b'}')? {
            return Ok(Form::Dict(entries));
        }
        let key = self.value(depth)?;
        if self.skip(b',')? {
            let value = self.value(depth)?;
            self.expect(b'}')?;
            return Ok(Form::Entry(Box::new((key, value))));
        }
        self.expect(b':')?;
        entries.push((key, self.value(depth)?));
        while !self.skip(b'}')? {
            self.expect(b',')?;
            let key = self.value(depth)?;
            self.expect(b':')?;
            entries.push((key, self.value(depth)?));
        }
        Ok(Form::Dict(entries))
    }
}
