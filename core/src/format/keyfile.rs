//! keyfile
