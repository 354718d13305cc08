use treeferry_core::format::Checksum;

use super::*;
use crate::etc_merge::report::{ConflictKind, Fate};

/// Reads a tree: `a=1` a file, `d/` a directory, `d/!` one with another mode, `l>t` a link, `p|` a
/// pipe.
fn tree(text: &str) -> EtcTree {
    let mut tree = EtcTree::default();
    let node = |kind, mode| Node {
        kind,
        mode,
        uid: 0,
        gid: 0,
    };
    for word in text.split_whitespace() {
        let (path, node) = if let Some((path, content)) = word.split_once('=') {
            (
                path,
                node(Kind::File(Checksum::of(content.as_bytes())), 0o644),
            )
        } else if let Some((path, target)) = word.split_once('>') {
            (path, node(Kind::Symlink(target.into()), 0o777))
        } else if let Some(path) = word.strip_suffix("/!") {
            (path, node(Kind::Dir, 0o700))
        } else if let Some(path) = word.strip_suffix('|') {
            (path, node(Kind::Special, 0o600))
        } else {
            (word.trim_end_matches('/'), node(Kind::Dir, 0o755))
        };
        tree.0.insert(path.into(), node);
    }
    tree
}

fn merged(
    old: &str,
    mine: &str,
    new: &str,
    rules: &[(&str, Strategy)],
) -> Result<MergePlan, Blocked> {
    let rules = rules
        .iter()
        .map(|(pattern, strategy)| (pattern.parse().unwrap(), *strategy));
    let strategies = Strategies::new(rules.collect());
    plan(&tree(old), &tree(mine), &tree(new), &strategies)
}

#[test]
fn the_result_is_ostrees() {
    for (old, mine, new, result) in [
        // Nobody, one, the other, both.
        ("a=1", "a=1", "a=1", "a=1"),
        ("a=1", "a=2", "a=1", "a=2"),
        ("a=1", "a=1", "a=2", "a=2"),
        ("a=1", "a=2", "a=3", "a=2"),
        // Removed stays removed; added stays; what the new system removed goes unless changed.
        ("a=1", "", "a=2", ""),
        ("", "a=1", "", "a=1"),
        ("", "a=1", "a=2", "a=1"),
        ("a=1", "a=1", "", ""),
        ("a=1", "a=2", "", "a=2"),
        // A directory that is gone in the new system comes back for what was changed in it.
        ("d/ d/a=1 d/b=1", "d/ d/a=2 d/b=1", "", "d/ d/a=2"),
        // Its mode comes along with what is in it, and is lost if nothing is.
        ("d/ d/a=1", "d/! d/a=2", "d/ d/a=1", "d/! d/a=2"),
        ("d/ d/a=1", "d/! d/a=1", "d/ d/a=1", "d/ d/a=1"),
        ("d/ d/a=1", "d/! d/a=1", "", "d/! d/a=1"),
        // Other kinds.
        ("a=1", "a>x", "a=1", "a>x"),
        ("a=1", "a/ a/b=1", "a=2", "a/ a/b=1"),
        ("a=1", "a/ a/b=1", "a/ a/c=1", "a/ a/c=1"),
        ("d/ d/a=1", "d=1", "", "d=1"),
        ("a=1", "a|", "a=1", ""),
        ("", "p|", "", ""),
        ("d/", "d/ d/p| d/a=1", "d/", "d/ d/a=1"),
        // What was removed is not looked for behind a link.
        ("d/ d/a=1", "d/", "d>x", "d>x"),
    ] {
        let plan = merged(old, mine, new, &[]).unwrap();
        assert_eq!(plan.result, tree(result), "{old:?} {mine:?} {new:?}");
    }
}

#[test]
fn what_stops_ostree_stops_this() {
    use BlockedBy::{NewDirectory, ParentIsFile, ParentIsSymlink, Special};
    for (old, mine, new, path, by) in [
        ("", "a=1", "a/", "a", NewDirectory),
        ("a=1", "a=2", "a/ a/b=1", "a", NewDirectory),
        ("d/ d/a=1", "d=1", "d/ d/a=1", "d", NewDirectory),
        ("d/ d/a=1", "d/ d/a=2", "d=1", "d/a", ParentIsFile),
        ("d/ d/a=1", "d/", "d=1", "d/a", ParentIsFile),
        ("d/", "d/ d/e/ d/e/a=1", "d=1", "d/e", ParentIsFile),
        ("d/ d/a=1", "d/ d/a=2", "d>x", "d/a", ParentIsSymlink),
        ("", "d/ d/e/ d/e/p| d/a=1", "", "d/e/p", Special),
        ("d=1", "d/ d/p|", "d=1", "d/p", Special),
    ] {
        let blocked = merged(old, mine, new, &[]).unwrap_err();
        assert_eq!(
            (blocked.path.to_str(), blocked.by),
            (Some(path), by),
            "{old:?} {mine:?} {new:?}"
        );
    }
}

#[test]
fn strategies_decide_conflicts_and_nothing_else() {
    use Strategy::{Beside, Fail, KeepMine, TakeNew};
    for (old, mine, new, strategy, result) in [
        ("a=1", "a=2", "a=3", TakeNew, "a=3"),
        ("a=1", "a=2", "a=1", TakeNew, "a=2"),
        ("a=1", "", "a=2", TakeNew, "a=2"),
        ("", "a=1", "a/ a/b=1", TakeNew, "a/ a/b=1"),
        ("a=1", "a=2", "a=3", Beside, "a=2 a.ostnew=3"),
        ("a=1", "a=2", "", Beside, "a=2"),
        ("a=1", "", "a=2", Beside, "a.ostnew=2"),
        ("a=1", "a=1", "a=2", Beside, "a=2"),
        ("a=1", "a=1", "a=2", KeepMine, "a=1"),
        ("a=1", "a=1", "", KeepMine, "a=1"),
        ("", "a=1", "a/ a/b=1", KeepMine, "a=1"),
        ("d/ d/a=1", "d/ d/a=2", "d=1", KeepMine, "d/ d/a=2"),
        ("d/ d/a=1", "d/ d/a=2", "d>x", KeepMine, "d/ d/a=2"),
        ("a=1", "a/ a/b=1", "a/ a/c=1", KeepMine, "a/ a/b=1 a/c=1"),
        ("d/", "d/!", "d/", KeepMine, "d/!"),
        ("a=1", "a=2", "a=1", Fail, "a=2"),
    ] {
        let plan = merged(old, mine, new, &[("**", strategy)]).unwrap();
        assert_eq!(
            plan.result,
            tree(result),
            "{old:?} {mine:?} {new:?} {strategy:?}"
        );
    }
    let blocked = merged("a=1", "a=2", "a=3", &[("a", Fail)]).unwrap_err();
    assert_eq!(blocked.by, BlockedBy::Conflict);
    // Elsewhere it is decided as ever.
    assert!(merged("a=1", "a=2", "a=3", &[("b", Fail)]).is_ok());
}

#[test]
fn the_report_tells_what_ostree_does_not() {
    let old = "same=1 gone=1 silent=1 both=1 kept=1 del=1 d=1";
    let mine = "same=1 gone=1 silent=1 both=2 kept=2 added=1 d/ d/x=1";
    let new = "same=1 silent=2 both=3 kept=1 del=2 fresh=1 d/";
    let report = merged(old, mine, new, &[]).unwrap().report;
    let fate = |path: &str| report.fates.get(Path::new(path)).copied();
    assert_eq!(fate("same"), None);
    assert_eq!(fate("silent"), Some(Fate::Replaced));
    assert_eq!(fate("gone"), Some(Fate::RemovedWithDefault));
    assert_eq!(fate("fresh"), Some(Fate::NewDefault));
    assert_eq!(fate("kept"), Some(Fate::Kept));
    assert_eq!(fate("added"), Some(Fate::Added));
    let kind = |path: &str| {
        let found = report.conflicts.iter().find(|c| c.path == Path::new(path));
        found.map(|c| c.kind)
    };
    assert_eq!(kind("both"), Some(ConflictKind::BothChanged));
    assert_eq!(kind("del"), Some(ConflictKind::RemovedHereChangedThere));
    assert_eq!(kind("d/x"), Some(ConflictKind::DroppedWithDirectory));
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(json["replaced"][0], "silent");
    assert_eq!(
        json["conflicts"].as_array().map(Vec::len),
        Some(report.conflicts.len())
    );
}
