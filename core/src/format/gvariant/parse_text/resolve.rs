//! From the tree of what is written to a value of a given type.

use super::infer::infer;
use super::{Form, Node, error};
use crate::format::FormatError;
use crate::format::gvariant::decode::{object_path, signature};
use crate::format::gvariant::{Type, Value};

/// Returns the value of type `ty` that `node` stands for.
pub(super) fn resolve(node: &Node<'_>, ty: &Type) -> Result<Value, FormatError> {
    Ok(match (&node.form, ty) {
        // The type was taken into account when `ty` was inferred; a type that was given wins.
        (Form::Typed(_, inner), _) => resolve(inner, ty)?,
        (Form::Nothing, Type::Maybe(element)) => Value::Maybe {
            element: (**element).clone(),
            value: None,
        },
        (Form::Just(inner), Type::Maybe(element)) => just(inner, element)?,
        (_, Type::Maybe(element)) => just(node, element)?,
        (Form::Bool(value), Type::Bool) => Value::Bool(*value),
        (Form::Number(number), _) => resolve_number(number, ty, node.at)?,
        (Form::Str(text), Type::Str) => Value::Str(text.clone()),
        (Form::Str(text), Type::ObjectPath) => {
            object_path(text).map_err(|_| error(node.at, "not a valid object path"))?
        }
        (Form::Str(text), Type::Signature) => {
            signature(text).map_err(|_| error(node.at, "not a valid signature"))?
        }
        (Form::Bytes(bytes), Type::Array(element)) if **element == Type::Byte => {
            Value::Bytes(bytes.clone())
        }
        (Form::Variant(inner), Type::Variant) => Value::variant(resolve(inner, &infer(inner)?)?),
        (Form::Array(values), Type::Array(element)) => {
            let values = values.iter().map(|value| resolve(value, element));
            Value::array((**element).clone(), values.collect::<Result<_, _>>()?)
        }
        (Form::Tuple(values), Type::Tuple(members)) if values.len() == members.types().len() => {
            let members = values
                .iter()
                .zip(members.types())
                .map(|(v, ty)| resolve(v, ty));
            Value::Tuple(members.collect::<Result<_, _>>()?)
        }
        (Form::Entry(entry), Type::DictEntry(_)) => resolve_entry(node, &entry.0, &entry.1, ty)?,
        (Form::Dict(entries), Type::Array(element)) => {
            let entries = entries
                .iter()
                .map(|(k, v)| resolve_entry(node, k, v, element));
            let values = entries.collect::<Result<_, _>>()?;
            match **element {
                Type::DictEntry(_) => Value::Array {
                    element: (**element).clone(),
                    values,
                },
                _ => return Err(mismatch(node, ty)),
            }
        }
        _ => return Err(mismatch(node, ty)),
    })
}

fn mismatch(node: &Node<'_>, ty: &Type) -> FormatError {
    error(node.at, format!("not a value of type {ty}"))
}

fn just(inner: &Node<'_>, element: &Type) -> Result<Value, FormatError> {
    let value = Some(Box::new(resolve(inner, element)?));
    Ok(Value::Maybe {
        element: element.clone(),
        value,
    })
}

fn resolve_entry(
    node: &Node<'_>,
    key: &Node<'_>,
    value: &Node<'_>,
    ty: &Type,
) -> Result<Value, FormatError> {
    match ty {
        Type::DictEntry(members) if members.types().len() == 2 => {
            let types = members.types();
            let entry = (resolve(key, &types[0])?, resolve(value, &types[1])?);
            Ok(Value::DictEntry(Box::new(entry)))
        }
        _ => Err(mismatch(node, ty)),
    }
}

fn resolve_number(number: &str, ty: &Type, at: usize) -> Result<Value, FormatError> {
    if *ty == Type::Double {
        return double(number)
            .map(Value::Double)
            .map_err(|problem| error(at, problem));
    }
    let convert: fn(i128) -> Option<Value> = match ty {
        Type::Byte => |n| n.try_into().ok().map(Value::Byte),
        Type::I16 => |n| n.try_into().ok().map(Value::I16),
        Type::U16 => |n| n.try_into().ok().map(Value::U16),
        Type::I32 => |n| n.try_into().ok().map(Value::I32),
        Type::U32 => |n| n.try_into().ok().map(Value::U32),
        Type::I64 => |n| n.try_into().ok().map(Value::I64),
        Type::U64 => |n| n.try_into().ok().map(Value::U64),
        Type::Handle => |n| n.try_into().ok().map(Value::Handle),
        _ => return Err(error(at, format!("not a value of type {ty}"))),
    };
    let (negative, digits) = sign(number);
    let magnitude = integer(digits).map_err(|problem| error(at, problem))?;
    let value = i128::from(magnitude) * if negative { -1 } else { 1 };
    convert(value).ok_or_else(|| error(at, format!("number out of range for type {ty}")))
}

/// Splits the sign off `number` and returns whether it is negative.
fn sign(number: &str) -> (bool, &str) {
    match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    }
}

/// Returns the magnitude of a decimal, octal (`0`) or hexadecimal (`0x`) number without a sign.
fn integer(digits: &str) -> Result<u64, &'static str> {
    let (digits, radix) = match digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
    {
        Some(digits) => (digits, 16),
        None if digits.starts_with('0') => (digits, 8),
        None => (digits, 10),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err("invalid character in number");
    }
    u64::from_str_radix(digits, radix).map_err(|_| "integer too big for any type")
}

fn double(number: &str) -> Result<f64, &'static str> {
    let (negative, digits) = sign(number);
    let magnitude = match digits {
        "inf" => f64::INFINITY,
        "nan" => f64::NAN,
        hex if hex.starts_with("0x") || hex.starts_with("0X") => integer(hex)? as f64,
        // Only digits, so that the names and signs Rust knows for floats are not accepted here.
        digits if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
            let value: f64 = digits.parse().map_err(|_| "invalid character in number")?;
            if value.is_infinite() {
                return Err("number too big for any type");
            }
            value
        }
        _ => return Err("invalid character in number"),
    };
    Ok(if negative { -magnitude } else { magnitude })
}
