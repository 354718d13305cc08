//! Reading values of any type.

use super::read::{abnormal, array};
use super::{
    ArrayReader, MAX_VALUE_DEPTH, Members, TupleReader, Type, Value, WHAT, read_str, read_variant,
};
use crate::format::FormatError;

impl Value {
    /// Reads the value of type `ty` that `bytes` are.
    ///
    /// Only normal form is accepted, so that [`encode`](Self::encode) returns the same bytes.
    /// Refused as well are values nested too deeply, and many for their number of bytes.
    pub fn decode(ty: &Type, bytes: &[u8]) -> Result<Self, FormatError> {
        let nodes = SPARE_NODES.saturating_add(bytes.len().saturating_mul(NODES_PER_BYTE));
        Decoder { nodes }.decode(ty, bytes, MAX_VALUE_DEPTH)
    }
}

/// How many values there may be for each byte.
///
/// One value in many tuples of one member each takes as many values without taking more bytes, so
/// without a limit a small array of such a type would take memory out of proportion.
const NODES_PER_BYTE: usize = 4;

/// How many more values there may be, so that this is no concern for small ones.
const SPARE_NODES: usize = 1024;

struct Decoder {
    /// How many more values may be made.
    nodes: usize,
}

impl Decoder {
    fn decode(&mut self, ty: &Type, bytes: &[u8], depth: usize) -> Result<Value, FormatError> {
        let (Some(depth), Some(nodes)) = (depth.checked_sub(1), self.nodes.checked_sub(1)) else {
            return Err(abnormal("values are nested too deeply"));
        };
        self.nodes = nodes;
        Ok(match ty {
            Type::Bool => match array(bytes)? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [_] => return Err(abnormal("a boolean is neither 0 nor 1")),
            },
            Type::Byte => Value::Byte(u8::from_le_bytes(array(bytes)?)),
            Type::I16 => Value::I16(i16::from_le_bytes(array(bytes)?)),
            Type::U16 => Value::U16(u16::from_le_bytes(array(bytes)?)),
            Type::I32 => Value::I32(i32::from_le_bytes(array(bytes)?)),
            Type::U32 => Value::U32(u32::from_le_bytes(array(bytes)?)),
            Type::I64 => Value::I64(i64::from_le_bytes(array(bytes)?)),
            Type::U64 => Value::U64(u64::from_le_bytes(array(bytes)?)),
            Type::Handle => Value::Handle(i32::from_le_bytes(array(bytes)?)),
            Type::Double => Value::Double(f64::from_le_bytes(array(bytes)?)),
            Type::Str => Value::Str(read_str(bytes)?.to_owned()),
            Type::ObjectPath => object_path(read_str(bytes)?)?,
            Type::Signature => signature(read_str(bytes)?)?,
            Type::Variant => {
                let (ty, bytes) = read_variant(bytes)?;
                Value::variant(self.decode(&ty, bytes, depth)?)
            }
            Type::Maybe(element) => self.maybe(element, bytes, depth)?,
            Type::Array(element) if **element == Type::Byte => Value::Bytes(bytes.to_vec()),
            Type::Array(element) => {
                let reader = ArrayReader::new(bytes, element.layout())?;
                let mut values = Vec::with_capacity(reader.remaining());
                for bytes in reader {
                    values.push(self.decode(element, bytes?, depth)?);
                }
                Value::Array {
                    element: (**element).clone(),
                    values,
                }
            }
            Type::Tuple(types) => Value::Tuple(self.members(types, ty, bytes, depth)?),
            Type::DictEntry(types) => {
                match <[Value; 2]>::try_from(self.members(types, ty, bytes, depth)?) {
                    Ok([key, value]) => Value::DictEntry(Box::new((key, value))),
                    Err(_) => return Err(abnormal("a dictionary entry is no pair")),
                }
            }
        })
    }

    fn maybe(&mut self, element: &Type, bytes: &[u8], depth: usize) -> Result<Value, FormatError> {
        let child = match (bytes, element.fixed_size()) {
            ([], _) => None,
            (_, Some(_)) => Some(bytes),
            // A byte tells the presence of a child that may itself be empty.
            ([child @ .., 0], None) => Some(child),
            (_, None) => return Err(abnormal("a maybe does not end in NUL")),
        };
        let value = child
            .map(|bytes| self.decode(element, bytes, depth))
            .transpose()?;
        Ok(Value::Maybe {
            element: element.clone(),
            value: value.map(Box::new),
        })
    }

    fn members(
        &mut self,
        members: &Members,
        ty: &Type,
        bytes: &[u8],
        depth: usize,
    ) -> Result<Vec<Value>, FormatError> {
        let types = members.types();
        let mut reader = TupleReader::new(bytes);
        // A type may name more members than there are bytes, though only the last may be empty.
        let mut values = Vec::with_capacity(types.len().min(bytes.len() + 1));
        for (index, member) in types.iter().enumerate() {
            let layout = member.layout();
            let child = match layout.fixed {
                Some(size) => reader.fixed(layout.align, size)?,
                None if index + 1 == types.len() => reader.last(layout.align)?,
                None => reader.variable(layout.align)?,
            };
            values.push(self.decode(member, child, depth)?);
        }
        match ty.fixed_size() {
            Some(_) => reader.finish_fixed(ty.alignment())?,
            None => reader.finish()?,
        }
        Ok(values)
    }
}

/// Returns `text` as an object path.
pub(super) fn object_path(text: &str) -> Result<Value, FormatError> {
    let element = |element: &str| {
        !element.is_empty()
            && element
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    match text.strip_prefix('/') {
        Some(rest) if rest.is_empty() || rest.split('/').all(element) => {
            Ok(Value::ObjectPath(text.to_owned()))
        }
        _ => Err(FormatError::new(
            WHAT,
            format!("{text:?} is not a valid object path"),
        )),
    }
}

/// Returns `text` as a signature.
pub(super) fn signature(text: &str) -> Result<Value, FormatError> {
    if Type::is_signature(text) {
        Ok(Value::Signature(text.to_owned()))
    } else {
        Err(FormatError::new(
            WHAT,
            format!("{text:?} is not a valid signature"),
        ))
    }
}
