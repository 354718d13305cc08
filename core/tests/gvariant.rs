//! GVariant: text, bytes and order against vectors of GLib, and hostile bytes.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

#[path = "vectors/dict_order.rs"]
mod dict_order;
#[path = "vectors/gvariant_text.rs"]
mod text;

use gvariant::{Marker, Structure, aligned_bytes::copy_to_align, gv};
use treeferry_core::format::FormatError;
use treeferry_core::format::gvariant::{
    ArrayReader, Dict, Layout, TupleReader, Type, Value, VariantDict, Writer, read_str,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap());
    digits
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

#[test]
fn text_is_read_and_printed_as_by_glib() {
    for &(input, ty, annotated, plain, bytes) in text::TEXTS {
        let value = Value::parse_text(input, None).unwrap_or_else(|e| panic!("{input:?}: {e}"));
        assert_eq!(value.ty().to_string(), ty, "{input:?}");
        assert_eq!(value.print(true), annotated, "{input:?}");
        assert_eq!(value.print(false), plain, "{input:?}");
        assert_eq!(hex(&value.encode()), bytes, "{input:?}");
        let ty = Type::parse(ty).unwrap();
        let decoded = Value::decode(&ty, &unhex(bytes)).unwrap();
        assert_eq!(decoded.print(true), annotated);
        assert_eq!(
            Value::parse_text(plain, Some(&ty)).unwrap().print(true),
            annotated
        );
    }
}

#[test]
fn text_refused_by_glib_is_refused() {
    for input in text::REFUSED {
        assert!(Value::parse_text(input, None).is_err(), "{input:?}");
    }
    for open in ["[", "(", "{1:", "<", "just ", "uint32 ", "@ai "] {
        assert!(Value::parse_text(&open.repeat(1 << 16), None).is_err());
    }
}

#[test]
fn given_types_win() {
    let parse = |text, ty| Value::parse_text(text, Some(&Type::parse(ty).unwrap()));
    assert_eq!(parse("5", "u").unwrap(), Value::U32(5));
    assert_eq!(parse("@i 5", "u").unwrap(), Value::U32(5));
    assert_eq!(parse("[]", "ay").unwrap(), Value::Bytes(Vec::new()));
    assert_eq!(parse("{}", "a{sv}").unwrap(), Value::from(Dict::new()));
    assert!(parse("'a'", "o").is_err());
    assert!(parse("5", "ai").is_err());
}

#[test]
fn what_is_not_in_normal_form_is_refused() {
    let cases = [
        ("b", "02"),
        ("u", "000000"),
        ("s", ""),
        ("s", "61"),
        ("s", "610061"),
        ("s", "61006200"),
        ("s", "ff00"),
        ("o", "6100"),
        ("g", "6d6900"),
        ("()", ""),
        ("()", "01"),
        ("(yu)", "0100000102000000"),
        ("(uy)", "0100000002000001"),
        ("ai", "0000000000"),
        ("as", "61000302"),
        ("as", "610003"),
        ("as", "6100ff"),
        ("as", "61006200040202"),
        ("ms", "6100"),
        ("mu", "00"),
        ("v", ""),
        ("v", "00"),
        ("v", "0069"),
        ("v", "01000000006969"),
        ("(ss)", "6100620001"),
        ("(ss)", "61006200"),
        ("(ayu)", "610000010200000001"),
        ("a{sv}", "61000000000001000100000000690209"),
    ];
    for (ty, bytes) in cases {
        assert!(
            Value::decode(&Type::parse(ty).unwrap(), &unhex(bytes)).is_err(),
            "{ty} {bytes}"
        );
    }
    // Offsets of two bytes where one would do.
    let one_string = |text: usize, offset: &[u8]| [&vec![b'a'; text], &[0][..], offset].concat();
    let strings = Type::parse("as").unwrap();
    assert!(Value::decode(&strings, &one_string(253, &[254])).is_ok());
    assert!(Value::decode(&strings, &one_string(253, &[254, 0])).is_err());
    assert!(Value::decode(&strings, &one_string(254, &[255, 0])).is_ok());
    // Many elements in sixty tuples each.
    let tuples = format!("a{}{}", "(".repeat(60), ")".repeat(60));
    let tuples = Type::parse(&tuples).unwrap();
    assert!(Value::decode(&tuples, &[0; 10]).is_ok());
    assert!(Value::decode(&tuples, &vec![0; 1 << 14]).is_err());
    // Deeper than any stack.
    let nested = |n: usize| [b"\x05\0y".to_vec(), b"\0v".repeat(n)].concat();
    assert!(Value::decode(&Type::Variant, &nested(10)).is_ok());
    assert!(Value::decode(&Type::Variant, &nested(100_000)).is_err());
}

#[test]
fn dictionaries_end_in_the_order_of_glib() {
    for [start, changes, end] in dict_order::ORDERS {
        let start: Dict = start
            .split_whitespace()
            .map(|key| (key.to_owned(), Value::I32(0)))
            .collect();
        let mut dict = VariantDict::from_dict(&start);
        for change in changes.split_whitespace() {
            match change.split_at(1) {
                ("+", key) => dict.insert(key, Value::I32(1)),
                (_, key) => _ = dict.remove(key),
            }
        }
        let got: Vec<_> = dict.end().iter().map(|(key, _)| key.to_owned()).collect();
        assert_eq!(got.join(" "), *end);
    }
}

#[test]
fn dict_keeps_order_and_duplicates() {
    let entries = ["b", "a", "b"].map(|key| (key.to_owned(), Value::from(key)));
    let mut dict: Dict = entries.into_iter().collect();
    let bytes = dict.encode();
    assert_eq!(Value::from(dict.clone()).encode(), bytes);
    assert_eq!(Dict::decode(&bytes).unwrap(), dict);
    assert_eq!(dict.insert("a", 7_u32), Some(Value::from("a")));
    dict.insert("z", true);
    assert_eq!(
        dict.iter().map(|(key, _)| key).collect::<Vec<_>>(),
        ["b", "a", "b", "z"]
    );
    assert_eq!(dict.remove("b"), Some(Value::from("b")));
    assert_eq!(
        dict.iter().map(|(key, _)| key).collect::<Vec<_>>(),
        ["a", "z"]
    );
}

/// Writes a dirtree of `files` files and `dirs` directories.
fn dirtree(files: &[(String, [u8; 32])], dirs: &[(String, [u8; 32], [u8; 32])]) -> Vec<u8> {
    let mut w = Writer::new();
    let root = w.begin(1);
    let array = w.begin(1);
    for (name, checksum) in files {
        let entry = w.begin(1);
        w.put_str(name);
        w.mark();
        w.put(1, checksum);
        w.end_tuple(entry);
        w.mark();
    }
    w.end_array(array);
    w.mark();
    let array = w.begin(1);
    for (name, tree, meta) in dirs {
        let entry = w.begin(1);
        w.put_str(name);
        w.mark();
        w.put(1, tree);
        w.mark();
        w.put(1, meta);
        w.end_tuple(entry);
        w.mark();
    }
    w.end_array(array);
    w.end_tuple(root);
    w.into_bytes()
}

/// Returns the names of the files and the directories of a dirtree.
fn walk(bytes: &[u8]) -> Result<Vec<&str>, FormatError> {
    let mut names = Vec::new();
    let mut root = TupleReader::new(bytes);
    for entry in ArrayReader::new(root.variable(1)?, Layout::variable(1))? {
        let mut entry = TupleReader::new(entry?);
        names.push(entry.str()?);
        entry.last(1)?;
        entry.finish()?;
    }
    for entry in ArrayReader::new(root.last(1)?, Layout::variable(1))? {
        let mut entry = TupleReader::new(entry?);
        names.push(entry.str()?);
        entry.variable(1)?;
        entry.last(1)?;
        entry.finish()?;
    }
    root.finish()?;
    Ok(names)
}

#[test]
fn dirtrees_agree_with_the_gvariant_crate() {
    let ty = Type::parse("(a(say)a(sayay))").unwrap();
    for (files, dirs) in [
        (0, 0),
        (1, 0),
        (0, 1),
        (3, 5),
        (7, 0),
        (6, 1),
        (2000, 30),
        (20_000, 9),
    ] {
        let files: Vec<_> = (0..files)
            .map(|n| (format!("file{n}"), [n as u8; 32]))
            .collect();
        let dirs: Vec<_> = (0..dirs)
            .map(|n| (format!("d{n}"), [n; 32], [!n; 32]))
            .collect();
        let ours = dirtree(&files, &dirs);
        let borrowed_files: Vec<_> = files.iter().map(|(n, c)| (&n[..], &c[..])).collect();
        let borrowed_dirs: Vec<_> = dirs
            .iter()
            .map(|(n, t, m)| (&n[..], &t[..], &m[..]))
            .collect();
        let theirs =
            gv!("(a(say)a(sayay))").serialize_to_vec(&(&borrowed_files[..], &borrowed_dirs[..]));
        assert!(ours == theirs);
        let names = walk(&ours).unwrap();
        let expected = files
            .iter()
            .map(|(n, _)| n)
            .chain(dirs.iter().map(|(n, ..)| n));
        assert!(expected.eq(names));
        assert!(Value::decode(&ty, &ours).unwrap().encode() == ours);
    }
}

#[test]
fn the_gvariant_crate_reads_metadata() {
    let mut dict = Dict::new();
    dict.insert("version", "1.0");
    dict.insert("size", 5_u64);
    let bytes = dict.encode();
    let bytes = copy_to_align(&bytes);
    let theirs = gv!("a{sv}").cast(&bytes);
    let keys: Vec<_> = theirs
        .iter()
        .map(|entry| entry.to_tuple().0.to_str())
        .collect();
    assert_eq!(keys, ["version", "size"]);
}

#[test]
fn headers_are_read_member_by_member() {
    let mut w = Writer::new();
    let root = w.begin(4);
    for n in [0_u32, 0, 0o100_644_u32.to_be(), 0] {
        w.put_u32(n);
    }
    w.put_str("target");
    w.mark();
    let xattrs = w.begin(1);
    w.end_array(xattrs);
    w.end_tuple(root);
    let bytes = w.into_bytes();
    let text = "(uint32 0, uint32 0, uint32 2759917568, uint32 0, 'target', @a(ayay) [])";
    assert_eq!(Value::parse_text(text, None).unwrap().encode(), bytes);
    let mut reader = TupleReader::new(&bytes);
    let words: Result<Vec<_>, _> = (0..4).map(|_| reader.u32()).collect();
    assert_eq!(words.unwrap(), [0, 0, 0o100_644_u32.to_be(), 0]);
    assert_eq!(read_str(reader.variable(1).unwrap()).unwrap(), "target");
    assert_eq!(reader.last(1).unwrap(), b"");
    reader.finish().unwrap();
}

/// A small generator of pseudo-random numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            match self.below(4) {
                0 if !bytes.is_empty() => bytes[at] = self.below(256) as u8,
                1 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                2 if !bytes.is_empty() => _ = bytes.remove(at),
                _ => bytes.insert(at, self.below(4) as u8),
            }
        }
    }
}

#[test]
fn whatever_is_read_is_written_back() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut accepted = 0;
    for &(_, ty, _, _, bytes) in text::TEXTS {
        let ty = Type::parse(ty).unwrap();
        for _ in 0..200 {
            let mut bytes = unhex(bytes);
            random.mutate(&mut bytes);
            if let Ok(value) = Value::decode(&ty, &bytes) {
                accepted += 1;
                assert_eq!(value.encode(), bytes, "{ty}");
                value.print(true);
            }
        }
    }
    assert!(accepted > 1000);
}

#[test]
fn mutated_text_does_not_panic() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for &(input, ..) in text::TEXTS {
        for _ in 0..100 {
            let mut bytes = input.as_bytes().to_vec();
            random.mutate(&mut bytes);
            let text = String::from_utf8_lossy(&bytes);
            if let Ok(value) = Value::parse_text(&text, None) {
                let again = Value::parse_text(&value.print(true), None).unwrap();
                assert_eq!(again.encode(), value.encode(), "{text:?}");
            }
        }
    }
}
