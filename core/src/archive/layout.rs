//! Which path below a remote holds what.

use crate::format::delta::DeltaFile;
use crate::format::{Checksum, ContentLayout, FormatError, ObjectName, loose_path};
use crate::store::RefName;
use crate::transport::RemotePath;

/// Where the configuration lies.
pub const CONFIG_PATH: &str = "config";

/// Where the summary lies.
pub const SUMMARY_PATH: &str = "summary";

/// Where the signature of the summary lies.
pub const SUMMARY_SIGNATURE_PATH: &str = "summary.sig";

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

/// Reads what a ref file holds: 64 hex digits and an optional line end.
pub(super) fn parse_ref(bytes: &[u8]) -> Result<Checksum, FormatError> {
    let expected = || FormatError::new("ref file", "expected 64 hex digits and a line end");
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let text = std::str::from_utf8(line).map_err(|_| expected())?;
    text.parse().map_err(|_| expected())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn a_ref_file_is_64_hex_digits_and_at_most_one_line_end() {
        let checksum: Checksum = HEX.parse().unwrap();
        assert_eq!(parse_ref(HEX.as_bytes()).unwrap(), checksum);
        assert_eq!(parse_ref(format!("{HEX}\n").as_bytes()).unwrap(), checksum);
        let upper = HEX.to_uppercase();
        for bad in [
            "",
            "\n",
            &HEX[1..],
            &format!("{HEX}\n\n"),
            &format!(" {HEX}"),
            &upper,
        ] {
            assert!(parse_ref(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(parse_ref(b"<html>404</html>").is_err());
        assert!(parse_ref(&[0xff; 64]).is_err());
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
