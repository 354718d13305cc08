//! Extended attributes, as they stand in dirmeta, file headers and `.file-xattrs`: `a(ayay)`.

use super::FormatError;
use super::gvariant::{ArrayReader, Layout, TupleReader, Writer};

const WHAT: &str = "extended attributes";

/// Extended attributes: pairs of name and value, in the order in which they are stored.
///
/// OSTree sorts them by name when it records them. A name is kept without its final NUL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Xattrs(Vec<(Vec<u8>, Vec<u8>)>);

impl Xattrs {
    /// Takes attributes in any order and sorts them by name.
    pub fn sorted(mut attributes: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        attributes.sort_by(|a, b| a.0.cmp(&b.0));
        Self(attributes)
    }

    /// Takes attributes in the order in which they are to be stored; no name may occur twice.
    pub fn in_order<'a>(attributes: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let attributes = attributes.into_iter();
        Self(attributes.map(|(n, v)| (n.to_vec(), v.to_vec())).collect())
    }

    /// Reads `a(ayay)`. Names must end in NUL, have no other, and appear once.
    pub fn parse(data: &[u8]) -> Result<Self, FormatError> {
        let this = Self::parse_pairs(data).map_err(|e| e.within(WHAT))?;
        let mut names: Vec<_> = this.0.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(FormatError::new(WHAT, "a name appears twice"));
        }
        Ok(this)
    }

    fn parse_pairs(data: &[u8]) -> Result<Self, FormatError> {
        let elements = ArrayReader::new(data, Layout::variable(1))?;
        let mut attributes = Vec::with_capacity(elements.remaining().min(64));
        for element in elements {
            let mut pair = TupleReader::new(element?);
            let name = pair.variable(1)?.strip_suffix(b"\0");
            let name = name.filter(|n| !n.is_empty() && !n.contains(&0));
            let name = name.ok_or_else(|| {
                FormatError::new(WHAT, "a name is empty or does not end in one NUL byte")
            })?;
            let value = pair.last(1)?;
            pair.finish()?;
            attributes.push((name.to_vec(), value.to_vec()));
        }
        Ok(Self(attributes))
    }

    /// Writes `a(ayay)`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        self.put(&mut writer);
        writer.into_bytes()
    }

    /// Writes them as a child of something else.
    pub(super) fn put(&self, writer: &mut Writer) {
        let array = writer.begin(1);
        for (name, value) in &self.0 {
            let pair = writer.begin(1);
            writer.put(1, name);
            writer.put(1, b"\0");
            writer.mark();
            writer.put(1, value);
            writer.end_tuple(pair);
            writer.mark();
        }
        writer.end_array(array);
    }

    /// Returns the pairs of name and value.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_slice(), value.as_slice()))
    }

    /// Returns the value of `name`.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| value)
    }

    /// Sets `name` to `value`, and sorts.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        self.0.retain(|(n, _)| n != name);
        self.0.push((name.to_vec(), value.to_vec()));
        self.0.sort_by(|a, b| a.0.cmp(&b.0));
    }

    /// Removes `name`.
    pub fn remove(&mut self, name: &[u8]) {
        self.0.retain(|(n, _)| n != name);
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
