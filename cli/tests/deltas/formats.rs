//! Formats: what C wrote is written back as it was.

use std::fs;

use bytes::Bytes;
use treeferry_core::format::delta::{Chunk, DeltaIndex, Superblock};

use crate::Versions;
use crate::support::run::ostree;

fn write_back(bytes: &Bytes) -> Vec<u8> {
    let superblock = Superblock::parse(bytes).unwrap();
    let mut all = Vec::new();
    for chunk in superblock.to_chunks() {
        match chunk {
            Chunk::Bytes(piece) => all.extend(piece),
            Chunk::Part(range) => {
                let start = usize::try_from(range.offset).unwrap();
                let end = usize::try_from(range.end()).unwrap();
                all.extend(&bytes[start..end]);
            }
        }
    }
    all
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs the C ostree")]
fn superblocks_of_c_are_written_back_as_they_were() {
    let versions = Versions::new();
    for way in [
        &["--min-fallback-size=0"][..],
        &["--inline"],
        &["--swap-endianness"],
        &["--empty", "--inline"],
        &["--empty", "--min-fallback-size=1"],
    ] {
        let file = versions.place.join("delta");
        let filename = format!("--filename={}", file.display());
        let mut args = vec!["static-delta", "generate", "main", &filename];
        args.extend(way);
        ostree(&versions.repo, args).success();
        let bytes = Bytes::from(fs::read(&file).unwrap());
        assert!(write_back(&bytes) == bytes, "{way:?}");
    }
    ostree(&versions.repo, ["static-delta", "generate", "main"]).success();
    ostree(&versions.repo, ["static-delta", "reindex"]).success();
    let indexes = versions.repo.join("delta-indexes");
    let first = fs::read_dir(indexes).unwrap().next().unwrap().unwrap();
    let index = fs::read_dir(first.path()).unwrap().next().unwrap().unwrap();
    let bytes = fs::read(index.path()).unwrap();
    assert_eq!(DeltaIndex::parse(&bytes).unwrap().to_bytes(), bytes);
}
