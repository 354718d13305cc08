//! SELinux labels as libselinux gives them, from the text of a policy.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use bytes::Bytes;
use treeferry_core::ErrorKind;
use treeferry_core::ops::labels::{LabelingEpoch, Labels, PolicyFiles};

const FILE: u32 = 0o100_644;
const DIR: u32 = 0o040_755;
const LINK: u32 = 0o120_777;

fn labels(contexts: &'static str) -> Labels {
    let mut files = PolicyFiles::default();
    files.contexts = Bytes::from_static(contexts.as_bytes());
    Labels::parse("test", &files).unwrap()
}

fn label(labels: &Labels, path: &str, mode: u32) -> String {
    labels
        .lookup(path, mode)
        .unwrap()
        .unwrap_or("none")
        .to_owned()
}

#[test]
fn the_last_line_that_matches_counts() {
    let labels = labels("/.* a\n/usr(/.*)? b\n/usr/bin/.* c\n/usr/b.* d\n");
    assert_eq!(label(&labels, "/etc", DIR), "a");
    assert_eq!(label(&labels, "/usr", DIR), "b");
    assert_eq!(label(&labels, "/usr/lib/x", FILE), "b");
    assert_eq!(label(&labels, "/usr/bin/x", FILE), "d");
}

#[test]
fn lines_without_wildcards_count_before_all_others() {
    let labels = labels("/usr/bin/a\\.b exact\n/usr(/.*)? tree\n");
    assert_eq!(label(&labels, "/usr/bin/a.b", FILE), "exact");
    assert_eq!(label(&labels, "/usr/bin/axb", FILE), "tree");
}

#[test]
fn lines_for_a_file_type_are_for_that_type() {
    let labels = labels("/x any\n/x -- file\n/x -l link\n/y -d dir\n");
    assert_eq!(label(&labels, "/x", FILE), "file");
    assert_eq!(label(&labels, "/x", LINK), "link");
    assert_eq!(label(&labels, "/x", DIR), "any");
    assert_eq!(label(&labels, "/y", FILE), "none");
    assert_eq!(label(&labels, "/y", DIR), "dir");
}

#[test]
fn what_is_to_have_no_label_has_none() {
    let labels = labels("/.* a\n/tmp/.* <<none>>\n");
    assert_eq!(label(&labels, "/tmp", DIR), "a");
    assert_eq!(label(&labels, "/tmp/x", FILE), "none");
}

#[test]
fn an_expression_matches_the_whole_path() {
    let labels = labels("/usr/lib[0-9]?/x+ a\n/opt/[^/]*\\.so(\\.[0-9])* b\n/[[&~a]x c\n");
    assert_eq!(label(&labels, "/usr/lib6/xx", FILE), "a");
    assert_eq!(label(&labels, "/usr/lib6/xxy", FILE), "none");
    assert_eq!(label(&labels, "/usr/lib/x", FILE), "a");
    assert_eq!(label(&labels, "/other/usr/lib/x", FILE), "none");
    assert_eq!(label(&labels, "/opt/a.so.1.2", FILE), "b");
    assert_eq!(label(&labels, "/opt/d/a.so", FILE), "none");
    assert_eq!(label(&labels, "/[x", FILE), "c");
    assert_eq!(label(&labels, "/&x", FILE), "c");
}

#[test]
fn aliases_are_labelled_like_their_originals() {
    let mut files = PolicyFiles::default();
    files.contexts = Bytes::from_static(b"/usr(/.*)? usr\n/opt(/.*)? opt\n");
    files.distribution_aliases = Bytes::from_static(b"# comment\n/lib64 /usr/lib\n\n/a /opt\n");
    files.aliases = Bytes::from_static(b"/local /lib64/x\n");
    let labels = Labels::parse("test", &files).unwrap();
    assert_eq!(label(&labels, "/lib64", DIR), "usr");
    assert_eq!(label(&labels, "/lib64/x", FILE), "usr");
    assert_eq!(label(&labels, "/lib641", FILE), "none");
    assert_eq!(label(&labels, "/local/z", FILE), "usr");
    assert_eq!(label(&labels, "/a/b", FILE), "opt");
}

#[test]
fn later_files_count_before_earlier_ones() {
    let mut files = PolicyFiles::default();
    files.contexts = Bytes::from_static(b"/h/.* contexts\n");
    files.homedirs = Bytes::from_static(b"/h/[^/]* homedirs\n");
    files.local = Bytes::from_static(b"/h/x.* local\n");
    let labels = Labels::parse("test", &files).unwrap();
    assert_eq!(label(&labels, "/h/a/b", FILE), "contexts");
    assert_eq!(label(&labels, "/h/a", FILE), "homedirs");
    assert_eq!(label(&labels, "/h/xa", FILE), "local");
}

#[test]
fn usr_etc_is_labelled_as_etc_in_the_newer_epoch() {
    let old = labels("/usr(/.*)? usr\n/etc(/.*)? etc\n");
    assert_eq!(label(&old, "/usr/etc/x", FILE), "usr");
    let new = old.with_epoch(LabelingEpoch::UsrEtcAsEtc);
    assert_eq!(label(&new, "/usr/etc/x", FILE), "etc");
    assert_eq!(label(&new, "/usr/etc", DIR), "etc");
    assert_eq!(label(&new, "/usr/etcetera", FILE), "usr");
}

#[test]
fn lines_that_are_no_rules_are_named() {
    let mut files = PolicyFiles::default();
    files.contexts = Bytes::from_static(b"/ok label\n/no -z label\n");
    let error = Labels::parse("test", &files).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(
        error.to_string().starts_with("file_contexts: line 2:"),
        "{error}"
    );
}

#[test]
fn an_expression_that_cannot_be_matched_is_an_error_and_not_a_wrong_label() {
    let labels = labels("/.* a\n/x(?=y).* b\n");
    let error = labels.lookup("/xy", FILE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(label(&labels, "/z", FILE), "a");
}

#[test]
fn a_tree_without_a_policy_or_with_selinux_disabled_has_no_labels() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Labels::read_directory(dir.path()).unwrap().is_none());
    let place = dir.path().join("etc/selinux");
    std::fs::create_dir_all(&place).unwrap();
    let configure = |text: &str| std::fs::write(place.join("config"), text).unwrap();
    configure("SELINUX=disabled\nSELINUXTYPE=own\n");
    assert!(Labels::read_directory(dir.path()).unwrap().is_none());
    configure("SELINUX=enforcing\nSELINUXTYPE=own\n");
    let error = Labels::read_directory(dir.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    configure("SELINUX=enforcing\n");
    let error = Labels::read_directory(dir.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}
