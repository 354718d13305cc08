//! Extended attributes for reading.

use treeferry_core::format::Xattrs;
use treeferry_core::format::gvariant::{Type, Value};

use crate::failure::Result;

/// Returns extended attributes as GVariant text.
pub(crate) fn xattr_text(xattrs: &Xattrs) -> Result<String> {
    let ty = Type::parse("a(ayay)")?;
    Ok(Value::decode(&ty, &xattrs.to_bytes())?.print(true))
}
