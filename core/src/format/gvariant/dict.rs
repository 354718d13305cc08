//! Dictionaries from strings to variants.

use super::{Type, Value, WHAT, Writer};
use crate::format::FormatError;

/// An `a{sv}`, with its entries in the order in which they are stored.
///
/// Keys that occur more than once are kept as they were read; look-ups see the first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dict {
    entries: Vec<(String, Value)>,
}

impl Dict {
    /// Returns an empty dictionary.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, value)| value)
    }

    /// Returns whether there is an entry for `key`.
    pub fn contains(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Sets `key` to `value`, in place if it is there and at the end otherwise.
    ///
    /// Returns the value `key` had.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<Value>) -> Option<Value> {
        let (key, value) = (key.into(), value.into());
        match self.entries.iter_mut().find(|(k, _)| *k == key) {
            Some((_, old)) => Some(std::mem::replace(old, value)),
            None => {
                self.entries.push((key, value));
                None
            }
        }
    }

    /// Removes all entries for `key` and returns the value of the first.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let mut first = None;
        for (_, value) in self.entries.extract_if(.., |(k, _)| k == key) {
            first.get_or_insert(value);
        }
        first
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the entries in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &Value)> + ExactSizeIterator {
        self.entries
            .iter()
            .map(|(key, value)| (key.as_str(), value))
    }

    /// Reads a serialised `a{sv}`.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        Self::try_from(Value::decode(&Type::vardict(), bytes)?)
    }

    /// Returns the serialised form.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.put_dict(self);
        writer.into_bytes()
    }
}

impl Writer {
    /// Writes `dict`, a child of type `a{sv}`.
    pub fn put_dict(&mut self, dict: &Dict) {
        let array = self.begin(8);
        for (key, value) in dict.iter() {
            let entry = self.begin(8);
            self.put_str(key);
            self.mark();
            self.put_variant(value);
            self.end_tuple(entry);
            self.mark();
        }
        self.end_array(array);
    }
}

impl FromIterator<(String, Value)> for Dict {
    /// Collects the entries as they are, duplicates included.
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(entries: I) -> Self {
        Self {
            entries: entries.into_iter().collect(),
        }
    }
}

impl IntoIterator for Dict {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<(String, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl From<Dict> for Value {
    fn from(dict: Dict) -> Self {
        let entry =
            |(key, value)| Self::DictEntry(Box::new((Self::Str(key), Self::variant(value))));
        let element = Type::dict_entry(Type::Str, Type::Variant);
        Self::Array {
            element,
            values: dict.into_iter().map(entry).collect(),
        }
    }
}

impl TryFrom<Value> for Dict {
    type Error = FormatError;

    fn try_from(value: Value) -> Result<Self, FormatError> {
        let not_a_dict = || FormatError::new(WHAT, "expected a value of type a{sv}");
        let Value::Array { element, values } = value else {
            return Err(not_a_dict());
        };
        if element != Type::dict_entry(Type::Str, Type::Variant) {
            return Err(not_a_dict());
        }
        let entry = |value| match value {
            Value::DictEntry(entry) => match *entry {
                (Value::Str(key), Value::Variant(value)) => Ok((key, *value)),
                _ => Err(not_a_dict()),
            },
            _ => Err(not_a_dict()),
        };
        values.into_iter().map(entry).collect()
    }
}
