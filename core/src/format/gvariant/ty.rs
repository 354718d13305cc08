//! GVariant types and the layout they imply.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{MAX_TYPE_DEPTH, WHAT};
use crate::format::FormatError;

/// A definite GVariant type, such as `a(say)`.
///
/// Cheap to clone: containers share their element types.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Type {
    /// `b`
    Bool,
    /// `y`
    Byte,
    /// `n`
    I16,
    /// `q`
    U16,
    /// `i`
    I32,
    /// `u`
    U32,
    /// `x`
    I64,
    /// `t`
    U64,
    /// `h`
    Handle,
    /// `d`
    Double,
    /// `s`
    Str,
    /// `o`
    ObjectPath,
    /// `g`
    Signature,
    /// `v`
    Variant,
    /// `m` and the type of the element.
    Maybe(Arc<Type>),
    /// `a` and the type of the elements.
    Array(Arc<Type>),
    /// The types of the members in parentheses.
    Tuple(Arc<Members>),
    /// The types of key and value in braces.
    DictEntry(Arc<Members>),
}

/// The member types of a tuple or dictionary entry.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Members {
    types: Vec<Type>,
    // Kept rather than worked out on each use, which would make reading an array of big tuples
    // take time proportional to the product of both.
    layout: Layout,
}

impl Members {
    fn new(types: Vec<Type>) -> Self {
        let layout = Layout::of_members(types.iter().map(Type::layout));
        Self { types, layout }
    }

    /// Returns the types in order.
    pub fn types(&self) -> &[Type] {
        &self.types
    }
}

/// How values of a type are placed in their container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    /// The alignment in bytes: 1, 2, 4 or 8.
    pub align: usize,
    /// The size in bytes, if all values of the type have the same.
    pub fixed: Option<usize>,
}

impl Layout {
    /// Returns the layout of a type with values of differing sizes.
    pub const fn variable(align: usize) -> Self {
        Self { align, fixed: None }
    }

    /// Returns the layout of a type of which all values have one size.
    pub const fn fixed(align: usize, size: usize) -> Self {
        Self {
            align,
            fixed: Some(size),
        }
    }

    fn of_members(members: impl Iterator<Item = Self>) -> Self {
        let (mut align, mut end) = (1, Some(0));
        for member in members {
            align = align.max(member.align);
            end = match (end, member.fixed) {
                (Some(end), Some(size)) => Some(align_up(end, member.align) + size),
                _ => None,
            };
        }
        // The unit type still takes a byte.
        Self {
            align,
            fixed: end.map(|end| align_up(end, align).max(1)),
        }
    }
}

/// Returns the lowest multiple of `align`, a power of two, that is not below `n`.
pub(super) fn align_up(n: usize, align: usize) -> usize {
    n.next_multiple_of(align)
}

impl Type {
    /// Parses one complete type string.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        Self::from_bytes(text.as_bytes())
            .ok_or_else(|| FormatError::new(WHAT, format!("invalid type string {text:?}")))
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (ty, rest) = scan(bytes, MAX_TYPE_DEPTH)?;
        rest.is_empty().then_some(ty)
    }

    /// Returns whether `text` is a sequence of complete type strings that D-Bus knows as well.
    pub(super) fn is_signature(text: &str) -> bool {
        let mut rest = text.as_bytes();
        if rest.contains(&b'm') {
            return false;
        }
        while !rest.is_empty() {
            match scan(rest, MAX_TYPE_DEPTH) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        true
    }

    /// Returns the type of arrays of `element`.
    pub fn array(element: Self) -> Self {
        Self::Array(Arc::new(element))
    }

    /// Returns the type of an optional `element`.
    pub fn maybe(element: Self) -> Self {
        Self::Maybe(Arc::new(element))
    }

    /// Returns the type of tuples of `members`.
    pub fn tuple(members: Vec<Self>) -> Self {
        Self::Tuple(Arc::new(Members::new(members)))
    }

    /// Returns the type of dictionary entries from `key` to `value`.
    pub fn dict_entry(key: Self, value: Self) -> Self {
        Self::DictEntry(Arc::new(Members::new(vec![key, value])))
    }

    /// Returns `a{sv}`, the type of metadata dictionaries.
    pub fn vardict() -> Self {
        Self::array(Self::dict_entry(Self::Str, Self::Variant))
    }

    /// Returns how values of this type are placed.
    pub fn layout(&self) -> Layout {
        match self {
            Self::Bool | Self::Byte => Layout::fixed(1, 1),
            Self::I16 | Self::U16 => Layout::fixed(2, 2),
            Self::I32 | Self::U32 | Self::Handle => Layout::fixed(4, 4),
            Self::I64 | Self::U64 | Self::Double => Layout::fixed(8, 8),
            Self::Str | Self::ObjectPath | Self::Signature => Layout::variable(1),
            Self::Variant => Layout::variable(8),
            Self::Maybe(element) | Self::Array(element) => Layout::variable(element.alignment()),
            Self::Tuple(members) | Self::DictEntry(members) => members.layout,
        }
    }

    /// Returns the alignment in bytes.
    pub fn alignment(&self) -> usize {
        self.layout().align
    }

    /// Returns the size in bytes, if all values have the same.
    pub fn fixed_size(&self) -> Option<usize> {
        self.layout().fixed
    }

    /// Returns whether this type may be the key of a dictionary entry.
    pub fn is_basic(&self) -> bool {
        self.letter().is_some() && *self != Self::Variant
    }

    fn letter(&self) -> Option<char> {
        Some(match self {
            Self::Bool => 'b',
            Self::Byte => 'y',
            Self::I16 => 'n',
            Self::U16 => 'q',
            Self::I32 => 'i',
            Self::U32 => 'u',
            Self::I64 => 'x',
            Self::U64 => 't',
            Self::Handle => 'h',
            Self::Double => 'd',
            Self::Str => 's',
            Self::ObjectPath => 'o',
            Self::Signature => 'g',
            Self::Variant => 'v',
            Self::Maybe(_) | Self::Array(_) | Self::Tuple(_) | Self::DictEntry(_) => return None,
        })
    }

    fn from_letter(letter: u8) -> Option<Self> {
        Some(match letter {
            b'b' => Self::Bool,
            b'y' => Self::Byte,
            b'n' => Self::I16,
            b'q' => Self::U16,
            b'i' => Self::I32,
            b'u' => Self::U32,
            b'x' => Self::I64,
            b't' => Self::U64,
            b'h' => Self::Handle,
            b'd' => Self::Double,
            b's' => Self::Str,
            b'o' => Self::ObjectPath,
            b'g' => Self::Signature,
            b'v' => Self::Variant,
            _ => return None,
        })
    }
}

/// Reads one type from the front of `bytes` and returns it with what follows.
fn scan(bytes: &[u8], depth: usize) -> Option<(Type, &[u8])> {
    let depth = depth.checked_sub(1)?;
    let (&first, mut rest) = bytes.split_first()?;
    match first {
        b'a' | b'm' => {
            let (element, rest) = scan(rest, depth)?;
            let ty = if first == b'a' {
                Type::array(element)
            } else {
                Type::maybe(element)
            };
            Some((ty, rest))
        }
        b'(' => {
            let mut members = Vec::new();
            loop {
                if let Some(rest) = rest.strip_prefix(b")") {
                    return Some((Type::tuple(members), rest));
                }
                let (member, after) = scan(rest, depth)?;
                members.push(member);
                rest = after;
            }
        }
        b'{' => {
            let (key, rest) = scan(rest, depth)?;
            let (value, rest) = scan(rest, depth)?;
            let rest = rest.strip_prefix(b"}")?;
            key.is_basic().then(|| (Type::dict_entry(key, value), rest))
        }
        letter => Some((Type::from_letter(letter)?, rest)),
    }
}

impl FromStr for Type {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        Self::parse(text)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        let (open, close, members) = match self {
            Self::Maybe(element) => return write!(f, "m{element}"),
            Self::Array(element) => return write!(f, "a{element}"),
            Self::Tuple(members) => ('(', ')', members),
            Self::DictEntry(members) => ('{', '}', members),
            basic => return basic.letter().map_or(Ok(()), |letter| f.write_char(letter)),
        };
        f.write_char(open)?;
        for member in members.types() {
            fmt::Display::fmt(member, f)?;
        }
        f.write_char(close)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_print_as_they_were_read() {
        for text in [
            "b",
            "a{sv}",
            "(a(say)a(sayay))",
            "()",
            "mmi",
            "a(s(taya{sv}))",
            "v",
            "aay",
        ] {
            assert_eq!(Type::parse(text).expect(text).to_string(), text);
        }
        for text in [
            "", "a", "m", "(", "(i", "ii", "{vs}", "{s}", "{sss}", "*", "?", "r", "a*",
        ] {
            assert!(Type::parse(text).is_err(), "{text}");
        }
        assert!(Type::parse(&"a".repeat(1 << 20)).is_err());
        assert!(Type::parse(&"(".repeat(1 << 20)).is_err());
    }

    #[test]
    fn layouts() {
        let layout = |text| Type::parse(text).expect(text).layout();
        assert_eq!(layout("()"), Layout::fixed(1, 1));
        assert_eq!(layout("(yd)"), Layout::fixed(8, 16));
        assert_eq!(layout("(dy)"), Layout::fixed(8, 16));
        assert_eq!(layout("(uuua(ayay))"), Layout::variable(4));
        assert_eq!(layout("{sv}"), Layout::variable(8));
        assert_eq!(layout("may"), Layout::variable(1));
    }
}
