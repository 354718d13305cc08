//! Where signatures stand: under a key for each kind in an `a{sv}`, as an `aay`.

use super::Scheme;
use crate::error::{Error, Result};
use crate::format::gvariant::{Dict, Type, Value};

/// The most signatures of one kind that are looked at: each may cost the time of a verification.
pub(super) const SIGNATURES_MAX: usize = 256;

/// The signatures of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signatures<'a> {
    /// There are none.
    None,
    /// There are these.
    Some(Vec<&'a [u8]>),
    /// What stands there is no list of signatures, or an absurdly long one.
    Malformed,
}

/// Returns the signatures of one kind that stand in `metadata`.
pub fn signatures_in(metadata: &Dict, scheme: Scheme) -> Signatures<'_> {
    let Some(value) = metadata.get(scheme.metadata_key()) else {
        return Signatures::None;
    };
    let Value::Array { element, values } = value else {
        return Signatures::Malformed;
    };
    if *element != bytes_type() || values.len() > SIGNATURES_MAX {
        return Signatures::Malformed;
    }
    if values.is_empty() {
        return Signatures::None;
    }
    Signatures::Some(values.iter().filter_map(Value::as_bytes).collect())
}

/// Adds a signature to those of its kind.
///
/// # Errors
///
/// When what stands there is not a list of signatures, or is as long as any that is read.
pub fn add_signature(metadata: &mut Dict, scheme: Scheme, signature: Vec<u8>) -> Result<()> {
    let mut values = match signatures_in(metadata, scheme) {
        Signatures::None => Vec::new(),
        Signatures::Some(old) if old.len() < SIGNATURES_MAX => old
            .into_iter()
            .map(|bytes| Value::Bytes(bytes.to_vec()))
            .collect(),
        Signatures::Some(_) | Signatures::Malformed => {
            let key = scheme.metadata_key();
            let problem = format!("'{key}' is not a list of less than {SIGNATURES_MAX} signatures");
            return Err(Error::corrupt(problem));
        }
    };
    values.push(Value::Bytes(signature));
    let value = Value::array(bytes_type(), values);
    metadata.insert(scheme.metadata_key(), value);
    Ok(())
}

/// Removes the signatures of a kind that `is_wanted` does not want; returns how many.
///
/// When none is left the key goes as well.
pub fn remove_signatures(
    metadata: &mut Dict,
    scheme: Scheme,
    is_wanted: impl Fn(&[u8]) -> bool,
) -> usize {
    let Signatures::Some(old) = signatures_in(metadata, scheme) else {
        return 0;
    };
    let before = old.len();
    let kept: Vec<_> = old.into_iter().filter(|bytes| is_wanted(bytes)).collect();
    let kept: Vec<_> = kept
        .into_iter()
        .map(|bytes| Value::Bytes(bytes.to_vec()))
        .collect();
    let removed = before - kept.len();
    match kept.is_empty() {
        true => drop(metadata.remove(scheme.metadata_key())),
        false => {
            let value = Value::array(bytes_type(), kept);
            metadata.insert(scheme.metadata_key(), value);
        }
    }
    removed
}

fn bytes_type() -> Type {
    Type::array(Type::Byte)
}
