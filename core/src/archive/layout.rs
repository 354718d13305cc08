//! Which path below a remote holds what.

use crate::format::delta::DeltaFile;
use crate::format::{
    Branch, Checksum, CollectionId, ContentLayout, ObjectName, ObjectType, RemoteName, loose_path,
};
use crate::store::{RefName, RefSpace};
use crate::transport::RemotePath;

/// Where the configuration lies.
pub const CONFIG_PATH: &str = "config";

/// Where the summary lies.
pub const SUMMARY_PATH: &str = "summary";

/// Where the signature of the summary lies.
pub const SUMMARY_SIGNATURE_PATH: &str = "summary.sig";

/// Where flatpak's index of summaries lies.
pub(super) const SUMMARY_INDEX_PATH: &str = "summary.idx";

/// Where the signature of that index lies.
pub(super) const SUMMARY_INDEX_SIGNATURE_PATH: &str = "summary.idx.sig";

/// Returns the path of the signature of the index that hashes so: beside it there is no other while a
/// new one is published.
pub(super) fn index_signature_path(checksum: &Checksum) -> RemotePath {
    RemotePath::of_checked_parts(format!("summaries/{checksum}.idx.sig"))
}

/// Returns the path of a sub-summary.
pub(super) fn sub_summary_path(checksum: &Checksum) -> RemotePath {
    RemotePath::of_checked_parts(format!("summaries/{checksum}.gz"))
}

/// Returns the path of an object.
pub(super) fn object_path(name: &ObjectName) -> RemotePath {
    below_objects(&name.loose_path(ContentLayout::Archive))
}

/// Returns the path of the detached metadata of a commit.
pub(super) fn detached_path(commit: &Checksum) -> RemotePath {
    below_objects(&loose_path(commit, "commitmeta"))
}

/// Returns the path of the mark that a commit was deleted on purpose.
pub(super) fn tombstone_path(commit: &Checksum) -> RemotePath {
    below_objects(&loose_path(commit, "tombstone-commit"))
}

/// Returns the path of a ref.
pub(super) fn ref_path(name: &RefName) -> RemotePath {
    RemotePath::of_checked_parts(name.path())
}

/// Returns the path of one of the files above.
pub(super) fn fixed_path(text: &'static str) -> RemotePath {
    RemotePath::of_checked_parts(text.into())
}

/// Returns the path of a file of a delta.
pub(super) fn delta_path(file: &DeltaFile) -> RemotePath {
    RemotePath::of_checked_parts(file.path())
}

fn below_objects(loose: &str) -> RemotePath {
    RemotePath::of_checked_parts(format!("objects/{loose}"))
}

/// Where the objects lie.
pub(super) const OBJECTS_PREFIX: &str = "objects/";

/// Where the files of deltas lie, and their indexes.
pub(super) const DELTAS_PREFIX: &str = "deltas/";
pub(super) const DELTA_INDEXES_PREFIX: &str = "delta-indexes/";

/// Where the marks of partial commits lie.
pub(super) const STATE_PREFIX: &str = "state/";

/// Where leases lie; another implementation does not look there.
pub(super) const LEASES_PREFIX: &str = ".treeferry/leases/";

/// Where it is noted what is not needed any more.
pub(super) const CONDEMNED_PREFIX: &str = ".treeferry/condemned/";

/// Where it is said which summary and signature belong together.
pub(super) const SUMMARY_PAIR_PATH: &str = ".treeferry/summary-pair";

const PARTIAL_SUFFIX: &str = ".commitpartial";

/// Returns the path of the mark that a commit is partial.
pub(super) fn partial_path(commit: &Checksum) -> RemotePath {
    RemotePath::of_checked_parts(format!("{STATE_PREFIX}{commit}{PARTIAL_SUFFIX}"))
}

/// Returns the commit whose mark lies at `path`, if it is one.
pub(super) fn parse_partial_path(path: &RemotePath) -> Option<Checksum> {
    let file = path.as_str().strip_prefix(STATE_PREFIX)?;
    file.strip_suffix(PARTIAL_SUFFIX)?.parse().ok()
}

/// Returns the prefix of the objects whose checksums begin with `first`.
pub(super) fn fanout_prefix(first: u8) -> String {
    format!("{OBJECTS_PREFIX}{first:02x}/")
}

/// Returns the object that lies at `path`, if it is one.
pub(super) fn parse_object_path(path: &RemotePath) -> Option<ObjectName> {
    let below = path.as_str().strip_prefix(OBJECTS_PREFIX)?;
    let (first, file) = below.split_once('/')?;
    let (rest, extension) = file.split_once('.')?;
    let object_type = match extension {
        "filez" => ObjectType::File,
        "dirtree" => ObjectType::DirTree,
        "dirmeta" => ObjectType::DirMeta,
        "commit" => ObjectType::Commit,
        _ => return None,
    };
    if first.len() != 2 {
        return None;
    }
    let checksum = format!("{first}{rest}").parse().ok()?;
    Some(ObjectName::new(object_type, checksum))
}

/// Returns the prefix of the refs of a space.
pub(super) fn refs_prefix(space: &RefSpace) -> String {
    match space {
        RefSpace::All => "refs/".into(),
        RefSpace::Local => "refs/heads/".into(),
        RefSpace::Remote(remote) => format!("refs/remotes/{remote}/"),
        RefSpace::Mirrors => "refs/mirrors/".into(),
    }
}

/// Returns the ref that lies at `path`, if it is one.
pub(super) fn parse_ref_path(path: &RemotePath) -> Option<RefName> {
    let (space, rest) = path.as_str().strip_prefix("refs/")?.split_once('/')?;
    match space {
        "heads" => Some(RefName::Local(Branch::new(rest).ok()?)),
        "remotes" => {
            let (remote, branch) = rest.split_once('/')?;
            let remote = RemoteName::new(remote).ok()?;
            Some(RefName::Remote(remote, Branch::new(branch).ok()?))
        }
        "mirrors" => {
            let (collection, branch) = rest.split_once('/')?;
            let collection = CollectionId::new(collection).ok()?;
            Some(RefName::Mirror(collection, Branch::new(branch).ok()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn what_lies_at_a_path_is_what_the_path_was_made_of() {
        let checksum: Checksum = HEX.parse().unwrap();
        for kind in ObjectType::ALL
            .into_iter()
            .filter(|k| *k != ObjectType::FileXattrs)
        {
            let name = ObjectName::new(kind, checksum);
            let path = object_path(&name);
            assert!(path.as_str().starts_with(&fanout_prefix(0)));
            assert_eq!(parse_object_path(&path), Some(name));
        }
        for other in [detached_path(&checksum), tombstone_path(&checksum)] {
            assert_eq!(parse_object_path(&other), None);
        }
        assert_eq!(parse_partial_path(&partial_path(&checksum)), Some(checksum));
        let branch: Branch = "os/müller".parse().unwrap();
        for name in [
            RefName::Local(branch.clone()),
            RefName::Remote("origin".parse().unwrap(), branch.clone()),
            RefName::Mirror("org.example.Os".parse().unwrap(), branch),
        ] {
            assert_eq!(parse_ref_path(&ref_path(&name)), Some(name));
        }
    }

    #[test]
    fn paths_are_those_of_an_archive() {
        let checksum: Checksum = HEX.parse().unwrap();
        let rest = &HEX[2..];
        let of = |name| object_path(&name).to_string();
        assert_eq!(
            of(ObjectName::file(checksum)),
            format!("objects/00/{rest}.filez")
        );
        assert_eq!(
            of(ObjectName::dirtree(checksum)),
            format!("objects/00/{rest}.dirtree")
        );
        let detached = detached_path(&checksum).to_string();
        assert_eq!(detached, format!("objects/00/{rest}.commitmeta"));
        let branch = RefName::Local("os/müller".parse().unwrap());
        assert_eq!(ref_path(&branch).as_str(), "refs/heads/os/müller");
        let mirror = RefName::Mirror("org.example.Os".parse().unwrap(), "os".parse().unwrap());
        assert_eq!(ref_path(&mirror).as_str(), "refs/mirrors/org.example.Os/os");
    }
}
