//! Binary formats.

use std::io::Read;

use treeferry_core::codec::{Codec, FlateCodec};
use treeferry_core::format::gvariant::{Dict, Type, Value};
use treeferry_core::format::{
    Commit, DirMeta, DirTree, FileHeader, Hasher, ObjectName, SIZES_KEY, Summary, Tombstone,
    Xattrs, read_header_frame, read_sizes, sizes_value,
};
use treeferry_core::store::{Body, Incoming, Payload};

/// The most content that is inflated, bytes.
const CONTENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Dirtrees: written back as they were.
pub fn fuzz_dirtree(data: &[u8]) {
    let Ok(tree) = DirTree::parse(data) else {
        return;
    };
    assert_eq!(tree.to_bytes(), data);
    let again = DirTree::new(tree.files().to_vec(), tree.dirs().to_vec());
    assert_eq!(again.as_ref(), Ok(&tree));
}

/// Dirmetas and `user.ostreemeta`: written back as they were.
pub fn fuzz_dirmeta(data: &[u8]) {
    if let Ok(dirmeta) = DirMeta::parse_any_mode(data) {
        assert_eq!(dirmeta.to_bytes(), data);
    }
    if let Ok(dirmeta) = DirMeta::parse(data) {
        assert_eq!(dirmeta.to_bytes(), data);
    }
    if let Ok(xattrs) = Xattrs::parse(data) {
        assert_eq!(xattrs.to_bytes(), data);
    }
}

/// Headers of files: written back as they were, and from one form into the other and back.
pub fn fuzz_file_header(data: &[u8]) {
    if let Ok(header) = FileHeader::parse_canonical(data) {
        let framed = header.to_canonical();
        assert_eq!(read_header_frame(&mut &*framed).ok().as_deref(), Some(data));
    }
    if let Ok((header, content_bytes)) = FileHeader::parse_filez(data) {
        let framed = header.to_filez(content_bytes);
        assert_eq!(read_header_frame(&mut &*framed).ok().as_deref(), Some(data));
        assert_eq!(
            FileHeader::parse_canonical(&header.to_canonical()[8..]),
            Ok(header)
        );
    }
}

/// Whole `.filez` files: what inflates to what it announces is accepted under the name it hashes
/// to and passed on as it is; under any other name it is refused.
pub fn fuzz_filez(data: &[u8]) {
    let wrong = ObjectName::file(Hasher::new().finish());
    assert!(
        read_as(wrong, data).is_none(),
        "accepted under a wrong name"
    );
    let Some(name) = name_of_filez(data) else {
        return;
    };
    // Deflate data may be longer than it need be; then it is refused.
    let Some(content_bytes) = read_as(name, data) else {
        return;
    };
    let incoming = Incoming::named(name, filez_body(data));
    let mut passed = Vec::new();
    let reader = incoming.into_filez(&FlateCodec, 6);
    let read = reader.map(|mut reader| reader.read_to_end(&mut passed));
    assert!(
        matches!(read, Ok(Ok(_))),
        "read, but not passed on: {read:?}"
    );
    assert_eq!(passed, data);
    assert!(content_bytes <= CONTENT_BYTES_MAX as u64);
}

fn filez_body(data: &[u8]) -> Body {
    Body::Filez {
        stored_bytes: None,
        payload: Payload::Bytes(data.to_vec().into()),
    }
}

/// Returns how long the content is, if it is accepted as `name`.
fn read_as(name: ObjectName, data: &[u8]) -> Option<u64> {
    let incoming = Incoming::named(name, filez_body(data));
    let mut reader = incoming.into_content(&FlateCodec).ok()?;
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        match reader.read(&mut buffer).ok()? {
            0 => return Some(total),
            n => total += n as u64,
        }
        if total > CONTENT_BYTES_MAX as u64 {
            return None;
        }
    }
}

/// Inflates by the codec alone, and returns what header and content hash to.
fn name_of_filez(data: &[u8]) -> Option<ObjectName> {
    let mut rest = data;
    let frame = read_header_frame(&mut rest).ok()?;
    let (header, _) = FileHeader::parse_filez(&frame).ok()?;
    let mut hasher = Hasher::new();
    hasher.update(&header.to_canonical());
    let mut inflater = FlateCodec.inflater();
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0;
    while !header.is_symlink() {
        let step = inflater.step(rest, &mut buffer).ok()?;
        rest = &rest[step.consumed..];
        total += step.produced;
        hasher.update(&buffer[..step.produced]);
        if step.ended {
            break;
        }
        if total > CONTENT_BYTES_MAX || step.consumed + step.produced == 0 {
            return None;
        }
    }
    Some(ObjectName::file(hasher.finish()))
}

/// Commits: written back as they were.
pub fn fuzz_commit(data: &[u8]) {
    if let Ok(commit) = Commit::parse(data) {
        assert_eq!(commit.to_bytes(), data);
        let _ = (commit.content_checksum(), commit.version());
        let _ = read_sizes(&commit.metadata);
    }
}

/// Summaries: written back as they were.
pub fn fuzz_summary(data: &[u8]) {
    if let Ok(summary) = Summary::parse(data) {
        assert_eq!(summary.to_bytes(), data);
        for entry in &summary.refs {
            assert!(summary.find(&entry.name).is_some());
        }
    }
}

/// Detached metadata: written back as it was.
pub fn fuzz_detached(data: &[u8]) {
    if let Ok(dict) = Dict::decode(data) {
        assert_eq!(dict.encode(), data);
    }
}

/// Tombstones: written back as they were.
pub fn fuzz_tombstone(data: &[u8]) {
    if let Ok(tombstone) = Tombstone::parse(data) {
        assert_eq!(tombstone.to_bytes(), data);
        let ours = Tombstone::new(tombstone.commit()).to_bytes();
        assert_eq!(
            Tombstone::parse(&ours).map(|t| t.commit()),
            Ok(tombstone.commit())
        );
    }
}

/// Sizes in metadata: what is read can be written, and is read the same again.
pub fn fuzz_sizes(data: &[u8]) {
    let entries = data
        .split(|byte| *byte == 0xaa)
        .map(|entry| Value::Bytes(entry.to_vec()));
    let element = Value::Bytes(Vec::new()).ty();
    let mut dict = Dict::new();
    dict.insert(SIZES_KEY, Value::array(element, entries.collect()));
    let Ok(Some(sizes)) = read_sizes(&dict) else {
        return;
    };
    let named = sizes.iter().filter_map(|size| {
        let name = ObjectName::new(size.object_type?, size.checksum);
        Some((name, size.archived_bytes, size.unpacked_bytes))
    });
    let named: Vec<_> = named.collect();
    dict.insert(SIZES_KEY, sizes_value(named.clone()));
    let again = read_sizes(&dict).ok().flatten().unwrap_or_default();
    for size in again {
        let name = size.object_type.map(|t| ObjectName::new(t, size.checksum));
        let same = |(n, archived, unpacked): &(ObjectName, u64, u64)| {
            Some(*n) == name && (*archived, *unpacked) == (size.archived_bytes, size.unpacked_bytes)
        };
        assert!(named.iter().any(same));
    }
}

/// GVariant of any type, which stands before the first NUL: written back as it was, and the same
/// after a round through text.
pub fn fuzz_gvariant(data: &[u8]) {
    let Some(nul) = data.iter().position(|byte| *byte == 0) else {
        return;
    };
    let Ok(ty) = std::str::from_utf8(&data[..nul])
        .unwrap_or_default()
        .parse::<Type>()
    else {
        return;
    };
    let bytes = &data[nul + 1..];
    let Ok(value) = Value::decode(&ty, bytes) else {
        return;
    };
    assert_eq!(value.encode(), bytes);
    assert_eq!(value.ty(), ty);
    let text = value.print(true);
    match Value::parse_text(&text, None) {
        Ok(parsed) => assert_eq!(parsed.print(true), text),
        Err(error) => panic!("{text}: {error}"),
    }
}
