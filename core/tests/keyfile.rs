//! Key files: values against vectors of GLib, and what changes leave alone.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

#[path = "vectors/key_files.rs"]
mod vectors;

use treeferry_core::format::keyfile::KeyFile;

#[test]
fn values_are_those_of_glib() {
    for &(text, entries) in vectors::FILES {
        let file = KeyFile::parse(text).unwrap_or_else(|e| panic!("{text:?}: {e}"));
        assert_eq!(file.to_string(), text);
        for &(group, key, raw, string, list, boolean) in entries {
            let at = format!("{text:?} [{group}] {key}");
            assert!(file.keys(group).contains(&key), "{at}");
            assert_eq!(file.get_raw(group, key), Some(raw), "{at}");
            let got = file.string(group, key).ok().flatten();
            assert_eq!(got.as_deref(), string, "{at}");
            let got = file.string_list(group, key).ok().flatten();
            let list = list.map(|list| list.iter().map(|&item| item.to_owned()).collect());
            assert_eq!(got, list, "{at}");
            assert_eq!(file.boolean(group, key).ok().flatten(), boolean, "{at}");
        }
    }
    for text in vectors::REFUSED {
        assert!(KeyFile::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn values_are_escaped_as_by_glib() {
    for &[text, string, list] in vectors::ESCAPED {
        let mut file = KeyFile::new();
        file.set_string("g", "s", text).unwrap();
        file.set_string_list("g", "l", [text, "z;"]).unwrap();
        assert_eq!(file.to_string(), format!("[g]\ns={string}\nl={list}\n"));
        let file = KeyFile::parse(file.to_string()).unwrap();
        assert_eq!(file.string("g", "s").unwrap().as_deref(), Some(text));
        assert_eq!(file.string_list("g", "l").unwrap().unwrap(), [text, "z;"]);
    }
}

#[test]
fn numbers() {
    let file = KeyFile::parse("[g]\na=12\nb=18446744073709551615\nc=1x\nd=-1\n").unwrap();
    assert_eq!(file.uint64("g", "a").unwrap(), Some(12));
    assert_eq!(file.uint64("g", "b").unwrap(), Some(u64::MAX));
    assert_eq!(file.uint64("g", "none").unwrap(), None);
    let error = file.uint64("g", "c").unwrap_err().to_string();
    assert_eq!(
        error,
        "key file at line 4: [g] c: not an unsigned number: \"1x\""
    );
    assert!(file.uint64("g", "d").is_err());
}

const CONFIG: &str = "\
# Written by hand
[core]
repo_version=1
 mode = archive
# end of core

# about the remote
[remote \"o\"]
url=http://example.com";

#[test]
fn changes_leave_the_rest_alone() {
    let mut file = KeyFile::parse(CONFIG).unwrap();
    assert_eq!(file.to_string(), CONFIG);
    file.set_raw("core", "mode", "bare").unwrap();
    file.set_boolean("core", "fsync", false).unwrap();
    file.set_uint64("remote \"o\"", "n", 7).unwrap();
    file.set_string("new", "k", "v").unwrap();
    let expected = "\
# Written by hand
[core]
repo_version=1
mode=bare
# end of core
fsync=false

# about the remote
[remote \"o\"]
url=http://example.com
n=7

[new]
k=v
";
    assert_eq!(file.to_string(), expected);
    assert_eq!(file.groups(), ["core", "remote \"o\"", "new"]);
    assert_eq!(file.keys("core"), ["repo_version", "mode", "fsync"]);
    assert_eq!(KeyFile::parse(expected).unwrap(), file);

    assert!(file.remove_group("core"));
    assert!(!file.remove_group("core"));
    assert!(file.remove_key("remote \"o\"", "n"));
    assert!(!file.remove_key("remote \"o\"", "n"));
    let expected = "\
# Written by hand
# about the remote
[remote \"o\"]
url=http://example.com

[new]
k=v
";
    assert_eq!(file.to_string(), expected);
}

#[test]
fn repeated_groups_are_one() {
    let text = "[g]\na=1\nb=2\n\n[h]\n\n[g]\na=3\n\n[i]\n";
    let mut file = KeyFile::parse(text).unwrap();
    assert_eq!(file.groups(), ["g", "h", "i"]);
    assert_eq!(file.keys("g"), ["a", "b"]);
    file.set_raw("g", "a", "4").unwrap();
    file.set_raw("g", "c", "5").unwrap();
    assert_eq!(
        file.to_string(),
        "[g]\na=1\nb=2\n\n[h]\n\n[g]\na=4\nc=5\n\n[i]\n"
    );
    assert!(file.remove_key("g", "a"));
    assert_eq!(file.get_raw("g", "a"), None);
    assert!(file.remove_group("g"));
    assert_eq!(file.to_string(), "[h]\n\n[i]\n");
}

#[test]
fn names_that_would_not_be_read_back_are_refused() {
    let mut file = KeyFile::new();
    for key in ["", "a=", "a[", " a", "a ", "#a", "a\nb"] {
        assert!(file.set_string("g", key, "v").is_err(), "{key:?}");
    }
    for group in ["", "a]", "[a", "a\n"] {
        assert!(file.set_string(group, "k", "v").is_err(), "{group:?}");
    }
    for raw in ["a\nb", " a", "a\r"] {
        assert!(file.set_raw("g", "k", raw).is_err(), "{raw:?}");
    }
    assert_eq!(file, KeyFile::new());
    assert!(KeyFile::parse(b"[g]\na=\xff\n").is_err());
}
