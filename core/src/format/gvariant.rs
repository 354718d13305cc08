//! GVariant
