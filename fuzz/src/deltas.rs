//! Static deltas.

use std::io::Cursor;

use bytes::Bytes;
use treeferry_core::format::delta::{
    Chunk, DeltaIndex, Op, OpReader, PartHeader, Superblock, put_op,
};
use treeferry_core::format::{Checksum, ObjectName};
use treeferry_core::ops::delta::{ApplyBudget, Recipe, Recipes, patched, unpack};

/// The most bytes that a patch may make.
const PATCHED_BYTES_MAX: u64 = 1 << 20;

/// Superblocks: written back as they were.
pub fn fuzz_delta_superblock(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let Ok(superblock) = Superblock::parse(&bytes) else {
        return;
    };
    let mut written = Vec::new();
    for chunk in superblock.to_chunks() {
        match chunk {
            Chunk::Bytes(piece) => written.extend(piece),
            Chunk::Part(range) => {
                let start = usize::try_from(range.offset).unwrap_or(usize::MAX);
                let end = usize::try_from(range.end()).unwrap_or(usize::MAX);
                written.extend(bytes.get(start..end).unwrap_or_default());
            }
        }
    }
    let again = Superblock::parse(&Bytes::from(written));
    let again = again.map(|again| (again.name, again.parts, again.fallbacks, again.commit));
    let first = (
        superblock.name,
        superblock.parts,
        superblock.fallbacks,
        superblock.commit,
    );
    assert_eq!(again.ok(), Some(first));
}

/// Files of parts: unpacked, and each recipe read; nothing lies outside of what was unpacked.
pub fn fuzz_delta_part(data: &[u8]) {
    let name = |text: &[u8]| Checksum::of(text);
    let objects = vec![
        ObjectName::dirtree(name(b"tree")),
        ObjectName::file(name(b"first")),
        ObjectName::file(name(b"second")),
    ];
    let header = PartHeader {
        version: 0,
        checksum: Checksum::of(data),
        stored_bytes: data.len() as u64,
        unpacked_bytes: 0,
        objects: objects.clone(),
    };
    let mut budget = ApplyBudget::default();
    budget.payload_bytes_max = 4 << 20;
    budget.decoder_bytes_max = 8 << 20;
    let file = Box::new(Cursor::new(data.to_vec()));
    let Ok(unpacked) = unpack(file, &header, &budget) else {
        return;
    };
    let total = unpacked.bytes.total_bytes();
    let mut recipes = Recipes::new(unpacked, objects);
    while let Ok(Some(recipe)) = recipes.next_recipe() {
        if let Recipe::Metadata { bytes, .. } = recipe {
            assert!(bytes.end() <= total);
        }
    }
}

/// Operations: written back, and read again the same.
pub fn fuzz_delta_operations(data: &[u8]) {
    for metadata in [false, true] {
        let (mut ops, mut reader) = (Vec::<Op>::new(), OpReader::new(data));
        while let Ok(Some(op)) = reader.next(metadata) {
            ops.push(op);
        }
        let mut written = Vec::new();
        for op in &ops {
            put_op(&mut written, op);
        }
        let mut again = OpReader::new(&written);
        for op in ops {
            assert_eq!(again.next(metadata), Ok(Some(op)));
        }
        assert_eq!(again.next(metadata), Ok(None));
    }
}

/// Patches: the first byte says how much of the rest is the old file.
pub fn fuzz_delta_patch(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let (old, patch) = rest.split_at(rest.len().min(usize::from(*first)));
    let (old, patch) = (Bytes::copy_from_slice(old), Bytes::copy_from_slice(patch));
    let length = patch.len();
    if let Ok(made) = patched(old, patch, PATCHED_BYTES_MAX) {
        assert!(made.len() <= length, "more comes out than the patch has");
    }
}

/// Indexes of deltas: what was read is read again.
pub fn fuzz_delta_index(data: &[u8]) {
    let Ok(index) = DeltaIndex::parse(data) else {
        return;
    };
    let mut names: Vec<_> = index.deltas.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    // Of a name that stands there twice, the later one stays.
    if names.len() == index.deltas.len() {
        assert_eq!(DeltaIndex::parse(&index.to_bytes()), Ok(index));
    }
}
