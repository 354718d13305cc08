//! Names that come from outside.

use std::fmt::Display;
use std::str::FromStr;

use treeferry_core::format::{
    Branch, Checksum, CollectionId, ObjectName, Refspec, RemoteName, check_file_name,
};
use treeferry_core::repo::Rev;
use treeferry_core::transport::RemotePath;

/// Checks that text that is accepted is what is displayed; returns it parsed.
fn same_text<T: FromStr + Display>(text: &str) -> Option<T> {
    let parsed: T = text.parse().ok()?;
    assert_eq!(parsed.to_string(), text);
    Some(parsed)
}

/// Checksums in hexadecimal.
pub fn fuzz_checksum(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(checksum) = same_text::<Checksum>(&text) {
        assert_eq!(Checksum::from_slice(checksum.as_bytes()), Ok(checksum));
        assert_eq!(checksum.hex(), text.as_bytes());
    }
    assert_eq!(Checksum::from_slice(data).is_ok(), data.len() == 32);
}

/// Names of objects.
pub fn fuzz_object_name(data: &[u8]) {
    same_text::<ObjectName>(&String::from_utf8_lossy(data));
}

/// Refs, refspecs, revisions and collections: none leads out of its directory.
pub fn fuzz_refs(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let safe = |text: &str| text.split('/').all(|part| check_file_name(part).is_ok());
    if let Some(branch) = same_text::<Branch>(&text) {
        assert!(safe(branch.as_str()));
    }
    if let Some(refspec) = same_text::<Refspec>(&text) {
        assert!(safe(refspec.branch.as_str()));
    }
    if let Some(remote) = same_text::<RemoteName>(&text) {
        assert!(check_file_name(remote.as_str()).is_ok());
    }
    if let Some(id) = same_text::<CollectionId>(&text) {
        assert!(check_file_name(id.as_str()).is_ok());
    }
    let _ = text.parse::<Rev>();
}

/// Paths of remotes and names of files: none leads out of its directory.
pub fn fuzz_paths(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(path) = same_text::<RemotePath>(&text) {
        let parts: Vec<_> = path.as_str().split('/').collect();
        assert!(
            parts
                .iter()
                .all(|part| !part.is_empty() && *part != "." && *part != "..")
        );
    }
    if check_file_name(&text).is_ok() {
        assert!(!text.contains('/') && RemotePath::new(&text).is_ok());
    }
}
