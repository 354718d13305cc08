//! What a prune does to static deltas.

use std::process::Command;

use crate::beside::{Agree, Beside};

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn deltas_to_what_is_gone_go_alike() {
    let beside = Beside::new();
    let made = [
        "--repo=r commit -b m --timestamp=@5000 -s three t",
        "--repo=r static-delta generate --from=m^^ --to=m^",
        "--repo=r static-delta generate --from=m^^ --to=m",
        "--repo=r static-delta generate --from=m^ --to=m",
        "--repo=r static-delta generate --empty --to=m^^",
        "--repo=r static-delta generate --empty --to=m^",
        "--repo=r static-delta generate --empty --to=m",
        "--repo=r static-delta reindex",
    ];
    for call in made {
        let outcome = beside.call_theirs(call);
        assert_eq!(outcome.code, Some(0), "{call}: {outcome:?}");
    }
    let script = "rm -rf ours && cp -a c ours && rm -rf c/kept && cp -a c/r c/kept";
    let copied = Command::new("sh")
        .args(["-c", script])
        .current_dir(beside.ours().parent().unwrap())
        .status();
    assert!(copied.unwrap().success());
    let commit = |rev: &str| {
        let found = beside.call(&format!("--repo=r rev-parse {rev}"));
        found.lines.into_iter().next().unwrap()
    };
    let [oldest, old, new] = ["m^^", "m^", "m"].map(commit);
    let cases = [
        (format!("--static-deltas-only --delete-commit={old}"), 4),
        (format!("--static-deltas-only --delete-commit={new}"), 3),
        (
            format!("--static-deltas-only --delete-commit={}", "0".repeat(64)),
            6,
        ),
        (
            format!("--static-deltas-only --delete-commit={oldest} --refs-only --depth=1"),
            5,
        ),
        ("--static-deltas-only --keep-younger-than=@1".to_owned(), 6),
        ("--refs-only --depth=0 --no-prune".to_owned(), 6),
        ("--refs-only --depth=1 --commit-only".to_owned(), 5),
        ("--refs-only --depth=0".to_owned(), 3),
        (format!("--delete-commit={oldest}"), 5),
        (format!("--delete-commit={old} --no-prune"), 6),
    ];
    for (options, left) in cases {
        for place in [beside.ours(), beside.theirs()] {
            let script = "rm -rf r && cp -a ../c/kept r";
            let copied = Command::new("sh")
                .args(["-c", script])
                .current_dir(place)
                .status();
            assert!(copied.unwrap().success());
        }
        let call = format!("--repo=r prune {options}");
        match options.contains("--keep-younger-than") || options.contains("--no-prune") {
            true => beside.same(Agree::ButErrorText, &[&call]),
            false => beside.same(Agree::Fully, &[&call]),
        }
        beside.same_files("r/objects");
        beside.same(Agree::InAnyOrder, &["--repo=r static-delta list"]);
        let listed = beside.call("--repo=r static-delta list").lines;
        assert_eq!(listed.len(), left, "{options}: {listed:?}");
        // Indexes of what is gone C keeps until they are written anew.
        let reindexed = "--repo=r static-delta reindex";
        assert_eq!(beside.call_theirs(reindexed).code, Some(0));
        beside.same(Agree::InAnyOrder, &["--repo=r static-delta indexes"]);
    }
}
