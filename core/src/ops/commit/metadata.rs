//! The metadata of a commit, in the order in which OSTree lays it out.
//!
//! Added keys, kept keys, the binding to refs and that to a collection follow one another, keys
//! that occur twice included. Marking it bootable, and then the digest of its image, go through a hash table,
//! which reorders all that is there and drops duplicates. Sizes come last.

use super::options::{Bindings, Bootable, CommitOptions};
use crate::error::{Error, Result};
use crate::format::gvariant::{Dict, Value, VariantDict};
use crate::format::{Checksum, Commit, ObjectName, SIZES_KEY, sizes_value};
use crate::ops::composefs::{DIGEST_KEY, Digest};
use crate::repo::{TreeRoot, load_dirtree};
use crate::store::ObjectSource;

const MODULES: &str = "/usr/lib/modules";

/// Returns the metadata of the new commit, all but the sizes.
pub(super) async fn metadata(
    options: &CommitOptions,
    parent: Option<(&Checksum, &Commit)>,
    collection: Option<&str>,
    root: TreeRoot,
    source: &dyn ObjectSource,
) -> Result<Dict> {
    let mut entries = options.metadata.clone();
    entries.extend(kept(&options.keep_metadata, parent)?);
    if let Bindings::Record(more) = &options.bindings {
        let target = options.target.iter().map(ToString::to_string);
        let mut refs: Vec<String> = target.chain(more.iter().map(ToString::to_string)).collect();
        refs.sort_unstable();
        entries.push(("ostree.ref-binding".to_owned(), Value::strings(refs)));
        if let Some(collection) = collection {
            entries.push(("ostree.collection-binding".to_owned(), collection.into()));
        }
    }
    let mut dict: Dict = entries.into_iter().collect();
    if options.bootable == Bootable::Yes {
        let kernel = kernel_version(source, root).await?;
        let mut ordered = VariantDict::from_dict(&dict);
        ordered.insert("ostree.bootable", true);
        ordered.insert("ostree.linux", kernel);
        dict = ordered.end();
    }
    Ok(dict)
}

fn kept(keys: &[String], parent: Option<(&Checksum, &Commit)>) -> Result<Vec<(String, Value)>> {
    let mut entries = Vec::with_capacity(keys.len());
    for key in keys {
        let Some((checksum, commit)) = parent else {
            let problem = format!("metadata key '{key}' cannot be kept: there is no parent commit");
            return Err(Error::invalid(problem));
        };
        let value = commit.metadata.get(key).ok_or_else(|| {
            Error::missing(format!(
                "Missing metadata key '{key}' from commit '{checksum}'"
            ))
        })?;
        entries.push((key.clone(), value.clone()));
    }
    Ok(entries)
}

/// Adds the digest of the composefs image.
pub(super) fn add_image_digest(metadata: &Dict, digest: Digest) -> Dict {
    let mut ordered = VariantDict::from_dict(metadata);
    ordered.insert(DIGEST_KEY, Value::Bytes(digest.0.to_vec()));
    ordered.end()
}

/// Adds the sizes of objects.
pub(super) fn add_sizes(metadata: Dict, sizes: Vec<(ObjectName, u64, u64)>) -> Dict {
    let sizes = (SIZES_KEY.to_owned(), sizes_value(sizes));
    metadata.into_iter().chain([sizes]).collect()
}

/// Returns the version of the one kernel of a tree.
async fn kernel_version(source: &dyn ObjectSource, root: TreeRoot) -> Result<String> {
    let mut here = root.tree;
    let mut path = String::new();
    for part in MODULES.split('/').skip(1) {
        path.push('/');
        path.push_str(part);
        let tree = load_dirtree(source, &here).await?;
        here = match (tree.dir(part), tree.file(part)) {
            (Some(dir), _) => dir.tree,
            (None, Some(_)) => return Err(Error::missing(format!("Not a directory: {path}"))),
            (None, None) => {
                return Err(Error::missing(format!("No such file or directory: {path}")));
            }
        };
    }
    let modules = load_dirtree(source, &here).await?;
    let mut kernel = None;
    for version in modules.dirs() {
        let tree = load_dirtree(source, &version.tree).await?;
        if tree.file("vmlinuz").is_some() && kernel.replace(version.name.to_string()).is_some() {
            return Err(Error::invalid(format!(
                "Multiple kernels found in {MODULES}"
            )));
        }
    }
    kernel.ok_or_else(|| Error::missing(format!("No kernel found in {MODULES}")))
}
