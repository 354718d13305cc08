//! Names below a repository.

use treeferry_core::format::{Checksum, ObjectName, ObjectType, loose_path};

use crate::mode::FsMode;

/// What staging directories, and their locks, begin with.
pub(crate) const STAGING_PREFIX: &str = "staging-";
/// The folder of interrupted downloads, below `tmp/`.
pub(crate) const SCRATCH_DIR: &str = "treeferry-scratch";
/// What objects are called that are not whole yet. Not two characters long, so that nobody who
/// publishes a staging directory takes them for a directory of objects.
pub(crate) const PENDING_PREFIX: &str = ".pending-";

/// Returns the path below `objects/` of an object in a repository of that mode.
pub(crate) fn object_path(name: &ObjectName, mode: FsMode) -> String {
    name.loose_path(mode.layout())
}

/// Returns the path below `objects/` of the hard link that names a file's extended attributes.
pub(crate) fn xattrs_link_path(file: &Checksum) -> String {
    loose_path(file, "file-xattrs-link")
}

/// Returns the path below `objects/` of a commit's detached metadata.
pub(crate) fn detached_path(commit: &Checksum) -> String {
    loose_path(commit, "commitmeta")
}

/// Returns the path below `objects/` of the mark of a commit that was deleted on purpose.
pub(crate) fn tombstone_path(commit: &Checksum) -> String {
    loose_path(commit, "tombstone-commit")
}

/// Returns the path below the repository of the mark of a commit without all its objects.
pub(crate) fn partial_path(commit: &Checksum) -> String {
    format!("state/{commit}.commitpartial")
}

/// Returns the name of the directory of objects, `00` to `ff`.
pub(crate) fn fanout_name(first: u8) -> String {
    format!("{first:02x}")
}

/// Returns the object that a file of that name, in a directory named `fanout`, is.
pub(crate) fn parse_object(fanout: &str, file: &str, mode: FsMode) -> Option<ObjectName> {
    let (rest, extension) = file.split_once('.')?;
    let object_type = ObjectType::ALL.into_iter().find(|object_type| {
        let any = ObjectName::new(*object_type, Checksum::from_bytes([0; 32]));
        any.extension(mode.layout()) == extension
    })?;
    if fanout.len() != 2 || rest.len() != 62 {
        return None;
    }
    let checksum = format!("{fanout}{rest}").parse().ok()?;
    Some(ObjectName::new(object_type, checksum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_parse_back_to_names() {
        let checksum = Checksum::of(b"x");
        for mode in FsMode::ALL {
            for object_type in ObjectType::ALL {
                let name = ObjectName::new(object_type, checksum);
                let path = object_path(&name, mode);
                let (fanout, file) = path.split_once('/').expect("a path has a slash");
                assert_eq!(parse_object(fanout, file, mode), Some(name));
            }
        }
    }

    #[test]
    fn other_files_beside_objects_are_no_objects() {
        let mode = FsMode::Bare;
        let path = loose_path(&Checksum::of(b"x"), "commitmeta");
        let (fanout, file) = path.split_once('/').expect("a path has a slash");
        assert_eq!(parse_object(fanout, file, mode), None);
        assert_eq!(parse_object(fanout, "tmp.file", mode), None);
        assert_eq!(parse_object("objects", "x.file", mode), None);
    }
}
