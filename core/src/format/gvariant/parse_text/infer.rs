//! What type a written value has when none is given.

use super::{Form, Node, error};
use crate::format::FormatError;
use crate::format::gvariant::Type;

/// The types a written value could have.
#[derive(Debug, Clone)]
enum Pattern {
    /// Any type.
    Any,
    /// Any number.
    Number,
    /// A string, object path or signature.
    Text,
    /// This type, which is no container other than a variant.
    Leaf(Type),
    Array(Box<Pattern>),
    Maybe(Box<Pattern>),
    Tuple(Vec<Pattern>),
    Entry(Box<(Pattern, Pattern)>),
    /// The pattern or a maybe of it, of any depth: where a maybe is wanted, `just` may be left out.
    Loose(Box<Pattern>),
}

/// Returns the type of `node`.
pub(super) fn infer(node: &Node<'_>) -> Result<Type, FormatError> {
    let ty = pattern(node)?.into_type();
    ty.ok_or_else(|| error(node.at, "unable to infer the type"))
}

fn pattern(node: &Node<'_>) -> Result<Pattern, FormatError> {
    Ok(Pattern::Loose(Box::new(match &node.form {
        // The type is known, and a maybe would have to be written.
        Form::Typed(ty, _) => return Ok(Pattern::of(ty)),
        Form::Nothing => return Ok(Pattern::Maybe(Box::new(Pattern::Any))),
        Form::Just(inner) => return Ok(Pattern::Maybe(Box::new(pattern(inner)?))),
        Form::Bool(_) => Pattern::Leaf(Type::Bool),
        Form::Number(number) if is_float(number) => Pattern::Leaf(Type::Double),
        Form::Number(_) => Pattern::Number,
        Form::Str(_) => Pattern::Text,
        Form::Bytes(_) => Pattern::Array(Box::new(Pattern::Leaf(Type::Byte))),
        Form::Variant(_) => Pattern::Leaf(Type::Variant),
        Form::Array(values) => Pattern::Array(Box::new(common(values)?)),
        Form::Tuple(members) => {
            Pattern::Tuple(members.iter().map(pattern).collect::<Result<_, _>>()?)
        }
        Form::Entry(entry) => entry_pattern(pattern(&entry.0)?, &entry.0, &entry.1)?,
        Form::Dict(entries) => {
            let entry = match entries.first() {
                None => Pattern::Entry(Box::new((Pattern::Any, Pattern::Any))),
                // The first value decides alone, unlike the keys.
                Some((key, value)) => {
                    entry_pattern(common(entries.iter().map(|(key, _)| key))?, key, value)?
                }
            };
            Pattern::Array(Box::new(entry))
        }
    })))
}

fn entry_pattern(
    key: Pattern,
    key_node: &Node<'_>,
    value: &Node<'_>,
) -> Result<Pattern, FormatError> {
    let key = if let Pattern::Loose(key) = key {
        *key
    } else {
        key
    };
    match &key {
        Pattern::Number | Pattern::Text => {}
        Pattern::Leaf(ty) if ty.is_basic() => {}
        _ => return Err(error(key_node.at, "dictionary keys must have basic types")),
    }
    Ok(Pattern::Entry(Box::new((key, pattern(value)?))))
}

/// Returns the pattern that all `nodes` have in common.
fn common<'n, 'a: 'n>(
    nodes: impl IntoIterator<Item = &'n Node<'a>>,
) -> Result<Pattern, FormatError> {
    let mut all = Pattern::Any;
    for node in nodes {
        all = all.join(pattern(node)?).ok_or_else(|| {
            error(
                node.at,
                "unable to find a type common with the values before",
            )
        })?;
    }
    Ok(all)
}

/// Returns whether a number can only be a double.
fn is_float(number: &str) -> bool {
    let is_hex = number.starts_with("0x");
    number.contains('.')
        || number.contains("inf")
        || number.contains("nan")
        || (number.contains('e') && !is_hex)
}

impl Pattern {
    fn of(ty: &Type) -> Self {
        match ty {
            Type::Array(element) => Self::Array(Box::new(Self::of(element))),
            Type::Maybe(element) => Self::Maybe(Box::new(Self::of(element))),
            Type::Tuple(members) => Self::Tuple(members.types().iter().map(Self::of).collect()),
            Type::DictEntry(members) => match members.types() {
                [key, value] => Self::Entry(Box::new((Self::of(key), Self::of(value)))),
                _ => Self::Any,
            },
            leaf => Self::Leaf(leaf.clone()),
        }
    }

    /// Returns the pattern of the types that both patterns allow.
    fn join(self, other: Self) -> Option<Self> {
        Some(match (self, other) {
            (Self::Any, pattern) | (pattern, Self::Any) => pattern,
            (Self::Loose(a), Self::Loose(b)) => Self::Loose(Box::new(a.join(*b)?)),
            (a @ Self::Loose(_), Self::Maybe(b)) | (Self::Maybe(b), a @ Self::Loose(_)) => {
                Self::Maybe(Box::new(a.join(*b)?))
            }
            (Self::Loose(a), b) | (b, Self::Loose(a)) => a.join(b)?,
            (Self::Number, Self::Number) => Self::Number,
            (Self::Text, Self::Text) => Self::Text,
            (Self::Number, Self::Leaf(ty)) | (Self::Leaf(ty), Self::Number) if is_number(&ty) => {
                Self::Leaf(ty)
            }
            (Self::Text, Self::Leaf(ty)) | (Self::Leaf(ty), Self::Text) if is_text(&ty) => {
                Self::Leaf(ty)
            }
            (Self::Leaf(a), Self::Leaf(b)) if a == b => Self::Leaf(a),
            (Self::Array(a), Self::Array(b)) => Self::Array(Box::new(a.join(*b)?)),
            (Self::Maybe(a), Self::Maybe(b)) => Self::Maybe(Box::new(a.join(*b)?)),
            (Self::Tuple(a), Self::Tuple(b)) if a.len() == b.len() => {
                let members = a.into_iter().zip(b).map(|(a, b)| a.join(b));
                Self::Tuple(members.collect::<Option<_>>()?)
            }
            (Self::Entry(a), Self::Entry(b)) => {
                Self::Entry(Box::new((a.0.join(b.0)?, a.1.join(b.1)?)))
            }
            _ => return None,
        })
    }

    /// Returns the type to take among those allowed.
    fn into_type(self) -> Option<Type> {
        Some(match self {
            Self::Any => return None,
            Self::Number => Type::I32,
            Self::Text => Type::Str,
            Self::Leaf(ty) => ty,
            Self::Array(element) => Type::array(element.into_type()?),
            Self::Maybe(element) => Type::maybe(element.into_type()?),
            Self::Tuple(members) => Type::tuple(
                members
                    .into_iter()
                    .map(Self::into_type)
                    .collect::<Option<_>>()?,
            ),
            Self::Entry(entry) => Type::dict_entry(entry.0.into_type()?, entry.1.into_type()?),
            Self::Loose(pattern) => pattern.into_type()?,
        })
    }
}

fn is_number(ty: &Type) -> bool {
    ty.is_basic() && !is_text(ty) && *ty != Type::Bool
}

fn is_text(ty: &Type) -> bool {
    matches!(ty, Type::Str | Type::ObjectPath | Type::Signature)
}
