//! GVariant, the serialisation of nearly everything OSTree stores.
//!
//! Two levels: readers ([`TupleReader`], [`ArrayReader`]) and a [`Writer`] for formats whose type is
//! known when the code is written, which build no intermediate tree, and the dynamic [`Value`] for
//! metadata whose type is only known when it is read. Everything is little-endian; integers OSTree
//! keeps big-endian are swapped by their formats. Only *normal form* is read, so that whatever was
//! read is written back as the same bytes.

mod decode;
mod dict;
mod dict_order;
mod encode;
mod float;
mod parse_text;
mod print;
mod read;
mod ty;
mod unprintable;
mod value;
mod write;

pub use dict::Dict;
pub use dict_order::VariantDict;
pub use read::{ArrayReader, TupleReader, read_str, read_u32, read_u64, read_variant};
pub(crate) use read::{needed_offset_size, offset_size};
pub use ty::{Layout, Members, Type};
pub use value::Value;
pub use write::{Frame, Writer};

/// What a [`FormatError`](super::FormatError) of this module is about.
const WHAT: &str = "GVariant";

/// The deepest nesting of a type string.
const MAX_TYPE_DEPTH: usize = 64;

/// The deepest nesting of a serialised value, variants included.
const MAX_VALUE_DEPTH: usize = 128;
