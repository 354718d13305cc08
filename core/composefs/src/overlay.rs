//! What overlayfs must find in the image to take content from the layer below it.

use crate::ImageError;
use crate::tree::{Backing, Image, Kind, Node};
use crate::xattr::XattrId;

const METACOPY: &[u8] = b"trusted.overlay.metacopy";
const REDIRECT: &[u8] = b"trusted.overlay.redirect";
const OPAQUE: &[u8] = b"trusted.overlay.opaque";
const LABEL: &[u8] = b"security.selinux";

/// Says of a regular file where its content is, and what its digest must be.
pub(crate) fn mark_file(
    image: &mut Image,
    node: usize,
    backing: Backing<'_>,
) -> Result<(), ImageError> {
    let mut value = Vec::new();
    if let Some(digest) = backing.digest {
        // Version 0, the length of all of it, no flags, SHA-256.
        value.extend_from_slice(&[0, 36, 0, 1]);
        value.extend_from_slice(&digest.0);
    }
    let metacopy = image.xattrs.take(METACOPY.to_vec(), value)?;
    let path = format!("/{}", backing.path).into_bytes();
    let redirect = image.xattrs.take(REDIRECT.to_vec(), path)?;
    image.nodes[node].xattrs.extend([metacopy, redirect]);
    Ok(())
}

/// Hides the layer of data below the root: it is opaque, and for kernels that show the layer anyway,
/// the names of the directories of a repository's objects are covered by whiteouts.
pub(crate) fn mark_root(image: &mut Image) -> Result<(), ImageError> {
    let opaque = image.xattrs.take(OPAQUE.to_vec(), b"y".to_vec())?;
    image.nodes[0].xattrs.push(opaque);
    let there: Vec<Box<[u8]>> = image
        .children(0)
        .iter()
        .map(|child| image.nodes[*child].name.clone())
        .filter(|name| name.len() == 2)
        .collect();
    let is_label = |id: &&XattrId| image.xattrs.get(**id).name == LABEL;
    let label = image.nodes[0].xattrs.iter().find(is_label).copied();
    let label = label.map(|id| image.xattrs.get(id).value.clone());
    let (uid, gid) = (image.nodes[0].uid, image.nodes[0].gid);
    for byte in 0..=u8::MAX {
        let name = format!("{byte:02x}").into_bytes().into_boxed_slice();
        if there.contains(&name) {
            continue;
        }
        let mut xattrs = Vec::new();
        if let Some(label) = &label {
            xattrs.push(image.xattrs.take(LABEL.to_vec(), label.clone())?);
        }
        let whiteout = Node {
            name,
            kind: Kind::Whiteout,
            permissions: 0o644,
            uid,
            gid,
            xattrs,
        };
        image.push(0, whiteout);
    }
    Ok(())
}
