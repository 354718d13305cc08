//! Commit messages that an editor writes.

use std::fs;

use crate::beside::{Agree, Beside};

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn what_an_editor_writes_makes_the_same_commits() {
    let beside = Beside::new();
    beside.both(|at| fs::write(at.join("editor"), "cp message \"$1\"\n").unwrap());
    for message in [
        "Subject",
        " Subject \n\nBody\n",
        "\n\nSubject\n\n\n\nBody\n\n  indented \n\n\n# comment\n",
        "Subject\nBody\nmore\n",
        "\t \nSubject\t\r\n\n Body  \u{b}\r\nmore\r\n",
        " # no comment\nx\n# a comment\ny",
        "a\n \n \nb \n \n",
        "a\n#c\n\n#\n\nb\n\n\n\nc\u{2003}\n\n# x\n\n",
        "# one\n\n#\n   \n",
        "",
    ] {
        beside.both(|at| fs::write(at.join("message"), message).unwrap());
        beside.same(
            Agree::Fully,
            &[
                "--repo=r commit -b s --timestamp=@1 -e t",
                "--repo=r commit --orphan --timestamp=@1 -s old --editor t",
                "--repo=r show --raw s",
            ],
        );
    }
    beside.both(|at| fs::write(at.join("message"), [0xff, b'\n']).unwrap());
    let call = "--repo=r commit -b s -e t";
    beside.same(Agree::ButErrorText, &[call]);
    beside.both(|at| fs::remove_file(at.join("message")).unwrap());
    beside.same(Agree::ButErrorText, &[call, "--repo=r rev-parse s"]);
}
