//! Bundles: one file that is a whole update, with the names of its refs.
//!
//! On the inside a bundle is a delta whose parts are all in its superblock; what makes it a bundle
//! stands in the superblock's metadata, so that the signature is over it too.

use crate::error::{Error, Result};
use crate::format::delta::Superblock;
use crate::format::gvariant::{Type, Value};
use crate::format::{Branch, CollectionId};

const REFS_KEY: &str = "treeferry.bundle.refs";
const COLLECTION_KEY: &str = "treeferry.bundle.collection-id";
const TARGET_KEY: &str = "treeferry.bundle.target";

/// What a bundle says besides being a delta.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BundleInfo {
    /// The refs that hold its commit.
    pub refs: Vec<Branch>,
    /// The collection that they belong to.
    pub collection_id: Option<CollectionId>,
    /// What it is for, such as a kind of device: one line for people.
    pub target: Option<String>,
}

impl BundleInfo {
    /// Returns the metadata that says it.
    pub fn to_metadata(&self) -> Vec<(String, Value)> {
        let refs = self.refs.iter().map(|name| Value::from(name.as_str()));
        let refs = Value::array(Type::Str, refs.collect());
        let mut metadata = vec![(REFS_KEY.to_owned(), refs)];
        if let Some(id) = &self.collection_id {
            metadata.push((COLLECTION_KEY.to_owned(), Value::from(id.as_str())));
        }
        if let Some(target) = &self.target {
            metadata.push((TARGET_KEY.to_owned(), Value::from(target.as_str())));
        }
        metadata
    }

    /// Reads what a superblock says; `None` when it is no bundle's.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) for names that cannot be.
    pub fn of(superblock: &Superblock) -> Result<Option<Self>> {
        let Some(refs) = superblock.value(REFS_KEY) else {
            return Ok(None);
        };
        let bad = || Error::corrupt("what the bundle says about its refs is not well formed");
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let branch = |value: &Value| {
            let name = value.as_str().ok_or_else(bad)?;
            Branch::new(name).map_err(|e| bad().because(e))
        };
        let refs = refs.as_slice().ok_or_else(bad)?;
        let collection_id = match superblock.value(COLLECTION_KEY) {
            None => None,
            Some(id) => {
                let id = id.as_str().ok_or_else(bad)?;
                Some(
                    id.parse()
                        .map_err(|e: crate::format::FormatError| bad().because(e))?,
                )
            }
        };
        Ok(Some(Self {
            refs: refs.iter().map(branch).collect::<Result<_>>()?,
            collection_id,
            target: superblock.value(TARGET_KEY).and_then(text),
        }))
    }
}
