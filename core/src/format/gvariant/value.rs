//! The dynamic value.

use super::Type;

/// A GVariant value of any type.
///
/// Elements of an array must have the array's element type, and strings must not contain NUL;
/// values that were read always satisfy both.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A `b`.
    Bool(bool),
    /// A `y`.
    Byte(u8),
    /// An `n`.
    I16(i16),
    /// A `q`.
    U16(u16),
    /// An `i`.
    I32(i32),
    /// A `u`.
    U32(u32),
    /// An `x`.
    I64(i64),
    /// A `t`.
    U64(u64),
    /// An `h`, an index into a list of file descriptors.
    Handle(i32),
    /// A `d`.
    Double(f64),
    /// An `s`.
    Str(String),
    /// An `o`.
    ObjectPath(String),
    /// A `g`.
    Signature(String),
    /// A `v`.
    Variant(Box<Value>),
    /// An optional value.
    Maybe {
        /// The type of the value that may be there.
        element: Type,
        /// The value, if there is one.
        value: Option<Box<Value>>,
    },
    /// An `ay`.
    Bytes(Vec<u8>),
    /// An array of anything but bytes.
    Array {
        /// The type of the elements.
        element: Type,
        /// The elements.
        values: Vec<Value>,
    },
    /// A tuple.
    Tuple(Vec<Value>),
    /// An entry of a dictionary.
    DictEntry(Box<(Value, Value)>),
}

impl Value {
    /// Returns the type of this value.
    pub fn ty(&self) -> Type {
        match self {
            Self::Bool(_) => Type::Bool,
            Self::Byte(_) => Type::Byte,
            Self::I16(_) => Type::I16,
            Self::U16(_) => Type::U16,
            Self::I32(_) => Type::I32,
            Self::U32(_) => Type::U32,
            Self::I64(_) => Type::I64,
            Self::U64(_) => Type::U64,
            Self::Handle(_) => Type::Handle,
            Self::Double(_) => Type::Double,
            Self::Str(_) => Type::Str,
            Self::ObjectPath(_) => Type::ObjectPath,
            Self::Signature(_) => Type::Signature,
            Self::Variant(_) => Type::Variant,
            Self::Maybe { element, .. } => Type::maybe(element.clone()),
            Self::Bytes(_) => Type::array(Type::Byte),
            Self::Array { element, .. } => Type::array(element.clone()),
            Self::Tuple(members) => Type::tuple(members.iter().map(Self::ty).collect()),
            Self::DictEntry(entry) => Type::dict_entry(entry.0.ty(), entry.1.ty()),
        }
    }

    /// Returns an array of `values`, all of the type `element`.
    ///
    /// Bytes become [`Value::Bytes`], as they are when read.
    pub fn array(element: Type, values: Vec<Self>) -> Self {
        if element != Type::Byte {
            return Self::Array { element, values };
        }
        let byte = |value: &Self| {
            if let Self::Byte(byte) = value {
                Some(*byte)
            } else {
                None
            }
        };
        Self::Bytes(values.iter().filter_map(byte).collect())
    }

    /// Returns the `as` of `strings`.
    pub fn strings<S: Into<String>>(strings: impl IntoIterator<Item = S>) -> Self {
        let values = strings.into_iter().map(|s| Self::Str(s.into())).collect();
        Self::Array {
            element: Type::Str,
            values,
        }
    }

    /// Returns `value` in a variant.
    pub fn variant(value: Self) -> Self {
        Self::Variant(Box::new(value))
    }

    /// Returns the text of a string, object path or signature.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) | Self::ObjectPath(text) | Self::Signature(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the bytes of an `ay`.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        if let Self::Bytes(bytes) = self {
            Some(bytes)
        } else {
            None
        }
    }

    /// Returns the value of a `b`.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self {
            Some(*value)
        } else {
            None
        }
    }

    /// Returns the value of a `u`.
    pub fn as_u32(&self) -> Option<u32> {
        if let Self::U32(value) = self {
            Some(*value)
        } else {
            None
        }
    }

    /// Returns the value of a `t`.
    pub fn as_u64(&self) -> Option<u64> {
        if let Self::U64(value) = self {
            Some(*value)
        } else {
            None
        }
    }

    /// Returns the elements of an array (other than `ay`) or the members of a tuple.
    pub fn as_slice(&self) -> Option<&[Self]> {
        match self {
            Self::Array { values, .. } | Self::Tuple(values) => Some(values),
            _ => None,
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::U32(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::U64(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Str(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Str(value)
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}
