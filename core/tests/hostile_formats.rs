//! Bytes that are not what a format demands are refused with an error that says why, whatever they
//! are; and what is not refused is written back as the same bytes.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use treeferry_core::format::gvariant::{Dict, Value, Writer};
use treeferry_core::format::{
    Checksum, Commit, DirEntry, DirMeta, DirTree, FileEntry, FileHeader, FormatError, ObjectName,
    Summary, SummaryRef, Tombstone, Xattrs, read_header_frame, read_sizes, sizes_value,
};

/// Parses and writes again.
type Rewrite = fn(&[u8]) -> Result<Vec<u8>, FormatError>;

const SUM: Checksum = Checksum::from_bytes([7; 32]);

fn rewrite_dirtree(bytes: &[u8]) -> Result<Vec<u8>, FormatError> {
    DirTree::parse(bytes).map(|v| v.to_bytes())
}

fn rewrite_header(bytes: &[u8]) -> Result<Vec<u8>, FormatError> {
    FileHeader::parse_canonical(bytes).map(|v| v.to_canonical()[8..].to_vec())
}

fn rewrite_filez_header(bytes: &[u8]) -> Result<Vec<u8>, FormatError> {
    FileHeader::parse_filez(bytes).map(|(v, length)| v.to_filez(length)[8..].to_vec())
}

fn metadata() -> Dict {
    let values = [
        ("version", Value::from("1")),
        ("list", Value::strings(["a", "", "ü"])),
        ("big", Value::from(u64::MAX)),
        ("bytes", Value::Bytes(vec![1, 2, 3])),
        (
            "nested",
            Value::variant(Value::Tuple(vec![Value::Byte(1), Value::U32(2)])),
        ),
    ];
    values.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}

fn sample_dirtree() -> DirTree {
    let file = |name: &str| FileEntry {
        name: name.into(),
        file: SUM,
    };
    let dir = |name: &str| DirEntry {
        name: name.into(),
        tree: SUM,
        meta: SUM,
    };
    let files = (0..9).map(|n| file(&format!("file{n}")));
    DirTree::new(files.collect(), vec![dir("a"), dir("b ü")]).unwrap()
}

fn sample_xattrs() -> Xattrs {
    let pair = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
    Xattrs::sorted(vec![pair("user.b", b""), pair("user.a", b"\0value")])
}

fn sample_header() -> FileHeader {
    FileHeader {
        uid: 1,
        gid: 2,
        mode: 0o120_777,
        symlink_target: "target".into(),
        xattrs: sample_xattrs(),
    }
}

fn sample_commit() -> Commit {
    Commit {
        metadata: metadata(),
        parent: Some(SUM),
        related: vec![("related".to_owned(), SUM)],
        subject: "subject".to_owned(),
        body: "body\n".to_owned(),
        timestamp: 1_600_000_000,
        tree: SUM,
        meta: SUM,
    }
}

fn sample_summary() -> Summary {
    let entry = |name: &str| SummaryRef {
        name: name.to_owned(),
        commit_bytes: 300,
        commit: SUM,
        metadata: metadata(),
    };
    Summary {
        refs: vec![entry("a"), entry("b/c")],
        metadata: metadata(),
    }
}

/// One good value of each format.
fn samples() -> Vec<(&'static str, Vec<u8>, Rewrite)> {
    let dirmeta = DirMeta {
        uid: 1,
        gid: 2,
        mode: 0o040_755,
        xattrs: sample_xattrs(),
    };
    let regular = FileHeader {
        mode: 0o100_644,
        symlink_target: "".into(),
        ..sample_header()
    };
    vec![
        ("dirtree", sample_dirtree().to_bytes(), rewrite_dirtree),
        (
            "empty dirtree",
            DirTree::default().to_bytes(),
            rewrite_dirtree,
        ),
        ("dirmeta", dirmeta.to_bytes(), |b| {
            DirMeta::parse(b).map(|v| v.to_bytes())
        }),
        ("xattrs", sample_xattrs().to_bytes(), |b| {
            Xattrs::parse(b).map(|v| v.to_bytes())
        }),
        (
            "header",
            sample_header().to_canonical()[8..].to_vec(),
            rewrite_header,
        ),
        (
            "filez header",
            regular.to_filez(u64::MAX)[8..].to_vec(),
            rewrite_filez_header,
        ),
        ("commit", sample_commit().to_bytes(), |b| {
            Commit::parse(b).map(|v| v.to_bytes())
        }),
        ("summary", sample_summary().to_bytes(), |b| {
            Summary::parse(b).map(|v| v.to_bytes())
        }),
        ("dict", metadata().encode(), |b| {
            Dict::decode(b).map(|v| v.encode())
        }),
        ("tombstone", Tombstone::new(SUM).to_bytes(), |b| {
            Tombstone::parse(b).map(|v| v.to_bytes())
        }),
    ]
}

#[test]
fn good_values_are_written_back() {
    for (what, bytes, rewrite) in samples() {
        assert_eq!(rewrite(&bytes).unwrap(), bytes, "{what}");
    }
}

/// A shorter value may be well formed too, such as an array that ends early; but then it is not
/// taken for anything else than it is.
#[test]
fn values_cut_short_at_any_byte_never_pass_for_others() {
    for (what, bytes, rewrite) in samples() {
        let mut passed = 0;
        for end in 0..bytes.len() {
            if let Ok(written) = rewrite(&bytes[..end]) {
                assert_eq!(written, bytes[..end], "{what} cut at {end}");
                passed += 1;
            }
        }
        // An empty array, and an array cut where one of its bytes happens to be an offset.
        assert!(passed <= 2, "{what}: {passed} of {} passed", bytes.len());
    }
}

#[test]
fn any_changed_byte_is_refused_or_kept() {
    for (what, bytes, rewrite) in samples() {
        for at in 0..bytes.len() {
            for flip in [1, 0x10, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                if let Ok(written) = rewrite(&changed) {
                    assert_eq!(written, changed, "{what} with byte {at} ^ {flip}");
                }
            }
        }
    }
}

#[test]
fn bytes_after_the_end_are_refused() {
    for (what, bytes, rewrite) in samples() {
        for tail in [&b"\0"[..], b"\xff", b"\0\0\0\0\0\0\0\0"] {
            let long = [&bytes, tail].concat();
            if let Ok(written) = rewrite(&long) {
                assert_eq!(written, long, "{what} with {} bytes more", tail.len());
            }
        }
    }
}

/// Writes a dirtree with whatever names, in whatever order.
fn raw_dirtree(files: &[&[u8]], dirs: &[&[u8]], sum: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    let tree = writer.begin(1);
    for (names, sums) in [(files, 1), (dirs, 2)] {
        let array = writer.begin(1);
        for name in names {
            let entry = writer.begin(1);
            writer.put(1, name);
            writer.mark();
            for n in 0..sums {
                writer.put(1, sum);
                if n + 1 < sums {
                    writer.mark();
                }
            }
            writer.end_tuple(entry);
            writer.mark();
        }
        writer.end_array(array);
        if sums == 1 {
            writer.mark();
        }
    }
    writer.end_tuple(tree);
    writer.into_bytes()
}

#[test]
fn names_that_lead_elsewhere_are_refused_and_named() {
    let long = [&[b'n'; 256][..], b"\0"].concat();
    let cases: [(&[&[u8]], &str); 14] = [
        (&[b"..\0"], "'..'"),
        (&[b".\0"], "'.'"),
        (&[b"\0"], "empty name"),
        (&[b"a/b\0"], "/ in filename"),
        (&[b"/\0"], "/ in filename"),
        (&[b"../../etc/passwd\0"], "/ in filename"),
        (&[b"a\0b\0"], "NUL"),
        (&[b"no end"], "NUL"),
        (&[b""], "NUL"),
        (&[b"\xff\xfe\0"], "UTF-8"),
        (&[b"\xc0\xaf\0"], "UTF-8"),
        (&[&long], "255"),
        (&[b"a\0", b"a\0"], "twice"),
        (&[b"b\0", b"a\0"], "sorted"),
    ];
    for (names, problem) in cases {
        for bytes in [
            raw_dirtree(names, &[], &[7; 32]),
            raw_dirtree(&[], names, &[7; 32]),
        ] {
            let error = DirTree::parse(&bytes).unwrap_err();
            assert_eq!(error.what(), "dirtree");
            assert!(error.to_string().contains(problem), "{names:?}: {error}");
        }
    }
    let both = raw_dirtree(&[b"a\0"], &[b"a\0"], &[7; 32]);
    assert!(
        DirTree::parse(&both)
            .unwrap_err()
            .to_string()
            .contains("both")
    );
}

#[test]
fn checksums_of_another_length_are_refused() {
    for length in [0, 1, 31, 33, 64] {
        let bytes = raw_dirtree(&[b"a\0"], &[], &vec![7; length]);
        let error = DirTree::parse(&bytes).unwrap_err().to_string();
        assert!(error.contains("32 bytes"), "{error}");
    }
}

#[test]
fn long_names_do_not_flood_messages() {
    let name = [vec![b'/'; 100_000], vec![0]].concat();
    let error = DirTree::parse(&raw_dirtree(&[&name], &[], &[7; 32])).unwrap_err();
    assert!(error.to_string().len() < 300);
}

/// Any type but that of a directory, and any unknown bit.
#[test]
fn impossible_modes_are_refused() {
    let dirmeta = |mode| DirMeta {
        uid: 0,
        gid: 0,
        mode,
        xattrs: Xattrs::default(),
    };
    for mode in [
        0,
        0o755,
        0o100_755,
        0o120_755,
        0o020_755,
        0o1_040_755,
        u32::MAX,
    ] {
        assert!(
            DirMeta::parse(&dirmeta(mode).to_bytes()).is_err(),
            "{mode:o}"
        );
    }
    for mode in [
        0,
        0o644,
        0o040_755,
        0o020_644,
        0o060_644,
        0o010_644,
        0o140_644,
        0o1_100_644,
    ] {
        let header = FileHeader {
            mode,
            symlink_target: "".into(),
            ..sample_header()
        };
        assert!(
            rewrite_header(&header.to_canonical()[8..]).is_err(),
            "{mode:o}"
        );
    }
    let with_target = FileHeader {
        mode: 0o100_644,
        ..sample_header()
    };
    assert!(rewrite_header(&with_target.to_canonical()[8..]).is_err());
    let without_target = FileHeader {
        symlink_target: "".into(),
        ..sample_header()
    };
    assert!(rewrite_header(&without_target.to_canonical()[8..]).is_err());
    assert!(rewrite_filez_header(&sample_header().to_filez(1)[8..]).is_err());
}

#[test]
fn attributes_without_a_name_or_with_one_twice_are_refused() {
    let pairs = |names: &[&str]| {
        let pairs = names
            .iter()
            .map(|name| (name.as_bytes().to_vec(), Vec::new()));
        Xattrs::sorted(pairs.collect()).to_bytes()
    };
    for names in [&[""][..], &["user.a", "user.a"], &["user.\0a"]] {
        let error = Xattrs::parse(&pairs(names)).unwrap_err();
        assert_eq!(error.what(), "extended attributes", "{names:?}");
    }
}

#[test]
fn header_frames_are_bounded() {
    for frame in [
        &b""[..],
        b"\0\0\0",
        b"\0\0\0\0\0\0\0\0",
        b"\0\0\0\x01\0\0\0\x01x",
    ] {
        read_header_frame(&mut &*frame).unwrap_err();
    }
    // Announces 4 GiB and brings nothing: refused before anything of that size is set aside.
    read_header_frame(&mut &b"\xff\xff\xff\xff\0\0\0\0"[..]).unwrap_err();
    read_header_frame(&mut &b"\0\x10\0\0\0\0\0\0short"[..]).unwrap_err();
}

#[test]
fn sizes_cut_short_or_too_large_are_refused() {
    let name = ObjectName::file(SUM);
    let good = sizes_value(vec![(name, u64::MAX, 0)]);
    let entry = good.as_slice().unwrap()[0].as_bytes().unwrap().to_vec();
    let with = |bytes: Vec<u8>| {
        let element = Value::Bytes(Vec::new()).ty();
        let value = Value::array(element, vec![Value::Bytes(bytes)]);
        let dict: Dict = [("ostree.sizes".to_owned(), value)].into_iter().collect();
        read_sizes(&dict)
    };
    assert_eq!(
        with(entry.clone()).unwrap().unwrap()[0].archived_bytes,
        u64::MAX
    );
    for end in 0..entry.len() - 1 {
        with(entry[..end].to_vec()).unwrap_err();
    }
    with([&entry[..], b"\x01"].concat()).unwrap_err();
    let mut endless = entry[..32].to_vec();
    endless.extend([0xff; 11]);
    with(endless).unwrap_err();
    let wrong_type: Dict = [("ostree.sizes".to_owned(), Value::from("text"))]
        .into_iter()
        .collect();
    read_sizes(&wrong_type).unwrap_err();
}

#[test]
fn tombstones_must_name_a_commit() {
    let with = |value: Value| {
        let dict: Dict = [("commit".to_owned(), value)].into_iter().collect();
        Tombstone::parse(&dict.encode())
    };
    let hex = SUM.to_string();
    with(Value::Bytes(format!("{hex}\0").into_bytes())).unwrap();
    for bytes in [
        hex.clone(),
        format!("{}\0", &hex[1..]),
        format!("{}\0", hex.to_uppercase().replace('0', "G")),
    ] {
        with(Value::Bytes(bytes.into_bytes())).unwrap_err();
    }
    with(Value::from(hex)).unwrap_err();
    Tombstone::parse(&Dict::new().encode()).unwrap_err();
}
