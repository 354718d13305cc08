//! Signatures of the type `dummy`, which OSTree has for tests: where they are put, and what is said.

use std::fs;

use crate::beside::{Agree, Beside};

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn signatures_are_put_and_told_alike() {
    let beside = Beside::new();
    let shown = "--repo=r show --print-detached-metadata-key=ostree.sign.dummy s";
    beside.same(
        Agree::Fully,
        &[
            "--repo=r commit -b s --timestamp=@1 --sign-type=dummy --sign=one t",
            shown,
            "--repo=r show s",
            "--repo=r sign --sign-type=dummy s two",
            "--repo=r sign --sign-type=dummy s three four",
            shown,
            "--repo=r commit -b s --timestamp=@2 --sign-type=dummy --sign=a --sign=b t",
            shown,
            "--repo=c summary -u --sign-type=dummy --sign=one --sign=two",
        ],
    );
    beside.same(
        Agree::ButErrorText,
        &[
            "--repo=r sign --verify --sign-type=dummy s nobody",
            "--repo=r sign --sign-type=nope s one",
            "--repo=r commit -b s --sign-type=nope --sign=one t",
            "--repo=r sign --sign-type=dummy nope one",
        ],
    );
    // We name the key; and to delete a signature C adds one.
    for (key, code) in [("a", 0), ("b", 0), ("one", 1)] {
        let call = format!("--repo=r sign --verify --sign-type=dummy s {key}");
        let (ours, theirs) = (beside.call(&call), beside.call_theirs(&call));
        assert_eq!((ours.code, theirs.code), (Some(code), Some(code)), "{call}");
    }
    let deleted = beside.call("--repo=r sign --delete --sign-type=dummy s a");
    assert_eq!(deleted.lines, ["Signatures deleted: 1"]);
    let verified = beside.call("--repo=r sign --verify --sign-type=dummy s a");
    assert_eq!(verified.code, Some(1), "{verified:?}");
    let signed = |at: std::path::PathBuf| fs::read(at.join("c/summary.sig")).unwrap();
    assert_eq!(signed(beside.ours()), signed(beside.theirs()));
}
