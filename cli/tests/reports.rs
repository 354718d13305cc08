//! What the command reports by its own name: as JSON, in sums, to shells and in manual pages.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::run::{Ran, treeferry};
use support::{Place, commit, tree};

/// Runs our command and reads what it printed, an object a line.
#[track_caller]
fn json(repo: &Path, line: &str) -> Vec<Value> {
    let printed = treeferry(repo, line.split(' ')).success().out;
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line:?}: {e}"));
    printed.lines().map(parse).collect()
}

/// An archive with two commits on `main`, and one of other files on `other`.
fn repo_of(place: &Place) -> std::path::PathBuf {
    let repo = place.init_unsynced("repo", "archive");
    let one = place.join("one");
    tree::write(&one, "same", &[b's'; 4000]);
    tree::write(&one, "changed", b"1");
    tree::write(&one, "gone", b"g");
    commit(&repo, "main", &one);
    tree::write(&one, "changed", b"2");
    tree::write(&one, "dir/new", b"n");
    std::fs::remove_file(one.join("gone")).unwrap();
    commit(&repo, "main", &one);
    let two = place.join("two");
    tree::write(&two, "same", &[b's'; 4000]);
    tree::write(&two, "own", b"own");
    commit(&repo, "other", &two);
    repo
}

#[test]
fn reports_are_told_as_json_an_object_a_line() {
    let place = Place::new();
    let repo = repo_of(&place);
    let refs = json(&repo, "refs --json");
    assert_eq!(refs.len(), 2);
    assert_eq!(refs[0]["ref"], "main");
    let log = json(&repo, "log --json main");
    assert_eq!(log.len(), 2);
    assert_eq!(log[0]["commit"], refs[0]["commit"]);
    assert_eq!(log[0]["parent"], log[1]["commit"]);
    assert_eq!(log[1]["parent"], Value::Null);
    assert_eq!(json(&repo, "show --json main")[0], log[0]);
    let listed = json(&repo, "ls -R --json main");
    let paths: Vec<_> = listed
        .iter()
        .map(|entry| entry["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["/", "/changed", "/same", "/dir", "/dir/new"]);
    assert_eq!(
        (&listed[2]["bytes"], &listed[2]["type"]),
        (&4000.into(), &"file".into())
    );
    let diff = json(&repo, "diff --json main");
    let told: Vec<_> = diff
        .iter()
        .map(|d| (d["change"].clone(), d["path"].clone()))
        .collect();
    let told: Vec<_> = told
        .iter()
        .map(|(c, p)| (c.as_str().unwrap(), p.as_str().unwrap()))
        .collect();
    let expected = [
        ("modified", "changed"),
        ("removed", "gone"),
        ("added", "dir"),
        ("added", "dir/new"),
    ];
    assert_eq!(told, expected);
    let pruned = json(&repo, "prune --no-prune --refs-only --depth=0 --json");
    assert_eq!(
        pruned[0]["commits_pruned"],
        Value::from(vec![log[1]["commit"].clone()])
    );
    let one = place.join("one");
    let again = format!("commit -b main --json {}", one.display());
    let again = json(&repo, &again);
    assert_eq!(
        (&again[0]["content_written"], &again[0]["content_total"]),
        (&0.into(), &3.into())
    );
    let client = place.init_unsynced("client", "bare-user");
    let url = format!("file://{}", repo.display());
    treeferry(
        &client,
        ["remote", "add", "--no-gpg-verify", "origin", &url],
    )
    .success();
    let pulled = json(&client, "pull --json origin main");
    assert_eq!(pulled[0]["refs"][0]["commit"], again[0]["commit"]);
    assert_eq!(pulled[0]["content_fetched"], 3);
}

#[test]
fn du_adds_up_to_what_a_prune_frees() {
    let place = Place::new();
    let repo = repo_of(&place);
    let before = json(&repo, "du --json");
    let [main, other, all] = &before[..] else {
        panic!("{before:?}");
    };
    let sum = |keys: [&Value; 4]| {
        keys.iter()
            .map(|v| v["bytes"].as_u64().unwrap())
            .sum::<u64>()
    };
    let parts = [
        &main["own"],
        &other["own"],
        &all["shared"],
        &all["without_ref"],
    ];
    assert_eq!(sum(parts), all["all"]["bytes"].as_u64().unwrap());
    assert!(main["all"]["bytes"].as_u64() > main["own"]["bytes"].as_u64());
    assert_eq!(all["without_ref"]["objects"], 0);
    let table = treeferry(&repo, ["du"]).success().out;
    assert!(
        table.contains("  main\n") && table.contains("  other\n"),
        "{table}"
    );

    treeferry(&repo, ["refs", "--delete", "other"]).success();
    let after = json(&repo, "du --json");
    assert_eq!(after[1]["without_ref"], other["own"]);
    assert_eq!(after[1]["without_commit"]["objects"], 0);
    let freed = json(&repo, "prune --refs-only --json");
    assert_eq!(freed[0]["freed_bytes"], other["own"]["bytes"]);
    assert_eq!(json(&repo, "du --json")[1]["without_ref"]["objects"], 0);
}

#[test]
fn diff_says_how_much_an_update_takes() {
    let place = Place::new();
    let repo = repo_of(&place);
    let stat = json(&repo, "diff --stat --json main");
    let counts = ["modified", "added", "removed"].map(|key| stat[0][key].as_u64().unwrap());
    assert_eq!(counts, [1, 2, 1]);
    let text = treeferry(&repo, ["diff", "--stat", "main"]).success().out;
    assert!(
        text.starts_with("1 modified, 2 added, 1 removed\n"),
        "{text}"
    );
    // As many bytes as a mirror of the first commit fetches for the second.
    let mirror = place.init_unsynced("mirror", "archive");
    let source = repo.to_str().unwrap();
    let first = json(&repo, "log --json main")[1]["commit"]
        .as_str()
        .unwrap()
        .to_owned();
    treeferry(&mirror, ["pull-local", source, &first]).success();
    let had = json(&mirror, "du --json").pop().unwrap()["all"]["bytes"]
        .as_u64()
        .unwrap();
    treeferry(&mirror, ["pull-local", source, "main"]).success();
    let has = json(&mirror, "du --json").pop().unwrap()["all"]["bytes"]
        .as_u64()
        .unwrap();
    assert_eq!(stat[0]["new_stored_bytes"].as_u64().unwrap(), has - had);
    let dir = place.join("one").display().to_string();
    let text = treeferry(&repo, ["diff", "--stat", "main", &dir])
        .success()
        .out;
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn completions_are_scripts_that_their_shell_takes() {
    let place = Place::new();
    let repo = place.path();
    for shell in ["bash", "zsh", "fish"] {
        let script = treeferry(repo, ["completions", shell]).success().out;
        for word in ["checkout", "union", "find-remotes"] {
            assert!(script.contains(word), "{shell} does not complete {word}");
        }
        let path = place.join(shell);
        std::fs::write(&path, script).unwrap();
        if Command::new(shell)
            .arg("--version")
            .stdout(Stdio::null())
            .status()
            .is_ok()
        {
            let mut check = Command::new(shell);
            Ran::of(check.arg("-n").arg(&path)).success();
        }
    }
    treeferry(repo, ["completions", "tcsh"]).failure_naming(&["tcsh", "bash"]);
}

#[test]
fn there_is_a_manual_page_for_each_verb() {
    let place = Place::new();
    let man = place.join("man1");
    treeferry(place.path(), ["man", man.to_str().unwrap()]).success();
    let help = treeferry(place.path(), ["--help"]).success().out;
    for verb in ["commit", "pull", "export", "du"] {
        assert!(help.contains(&format!("\n  {verb} ")), "{verb}: {help}");
        let page = std::fs::read_to_string(man.join(format!("treeferry-{verb}.1"))).unwrap();
        assert!(page.contains(".SH OPTIONS"), "{verb}");
        assert!(page.contains("Examples:"), "{verb} has no examples");
    }
    assert!(man.join("treeferry-remote-add.1").exists());
    let page = treeferry(place.path(), ["man"]).success().out;
    assert!(page.contains(".TH") && page.contains("treeferry"), "{page}");
}

#[test]
fn what_is_asked_of_refs_remotes_and_summaries_is_told_as_json() {
    let place = Place::new();
    let repo = repo_of(&place);
    treeferry(&repo, ["summary", "-u", "--grace=0"]).success();
    let main = json(&repo, "rev-parse --json main main^");
    assert_eq!(main[0]["rev"], "main");
    let (new, old) = (&main[0]["commit"], &main[1]["commit"]);
    assert_eq!(new, &json(&repo, "refs --json")[0]["commit"]);
    assert_ne!(new, old);
    let client = place.init_unsynced("client", "bare-user");
    let url = format!("file://{}", repo.display());
    let add = ["remote", "add", "--no-gpg-verify", "origin", &url];
    treeferry(&client, add).success();
    let remotes = json(&client, "remote list --json");
    assert_eq!(
        (&remotes[0]["url"], &remotes[0]["gpg_verify"]),
        (&url.into(), &false.into())
    );
    let listed = json(&client, "remote refs --json origin");
    assert_eq!(
        (&listed[0]["ref"], &listed[0]["commit"]),
        (&"main".into(), new)
    );
    let summary = json(&client, "remote summary --json origin");
    assert_eq!(summary, json(&repo, "summary --json"));
    assert_eq!(summary[0]["commit"], *new);
    assert!(summary[2]["last_modified"].as_u64() > Some(1_700_000_000));
}

#[test]
fn what_moved_and_what_is_damaged_is_told_as_json() {
    let place = Place::new();
    let repo = repo_of(&place);
    let client = place.init_unsynced("client", "bare-user");
    let pulled = json(
        &client,
        &format!("pull-local --json {} main", repo.display()),
    );
    assert_eq!(pulled[0]["content_fetched"], 3);
    let other = place.init_unsynced("other", "archive");
    let pushed = json(&client, &format!("push --json {} main", other.display()));
    assert_eq!(
        (&pushed[0]["outcome"], &pushed[1]["content_moved"]),
        (&"moved".into(), &3.into())
    );
    let again = json(&client, &format!("push --json {} main", other.display()));
    assert_eq!(again[0]["outcome"], "unchanged");
    let sound = json(&client, "fsck --json");
    assert_eq!(
        (&sound[0]["sound"], &sound[0]["content_objects"]),
        (&true.into(), &3.into())
    );
    let objects = support::objects(&client);
    let file = objects.iter().find(|name| name.ends_with(".file")).unwrap();
    std::fs::write(client.join("objects").join(file), b"rotten").unwrap();
    let ran = support::run::treeferry_command(&client, ["fsck", "--json"]).output();
    let ran = ran.unwrap();
    assert_eq!(ran.status.code(), Some(1));
    let printed = String::from_utf8(ran.stdout).unwrap();
    let found = printed.lines().map(serde_json::from_str);
    let found: Vec<Value> = found.collect::<Result<_, _>>().unwrap();
    assert_eq!(
        (&found[0]["problem"], &found[1]["sound"]),
        (&"damaged".into(), &false.into())
    );
    assert_eq!(found[0]["object"], file.replace('/', ""));
}

#[test]
fn configuration_signatures_and_leases_are_told_as_json() {
    let place = Place::new();
    let repo = repo_of(&place);
    let set = json(&repo, "config set --json core.tmp-expiry-secs 7");
    assert_eq!(
        (&set[0]["before"], &set[0]["value"]),
        (&Value::Null, &"7".into())
    );
    let got = json(&repo, "config get --json core.tmp-expiry-secs");
    assert_eq!(
        (&got[0]["group"], &got[0]["key"], &got[0]["value"]),
        (&"core".into(), &"tmp-expiry-secs".into(), &"7".into())
    );
    let unset = json(&repo, "config unset --json core.tmp-expiry-secs");
    assert_eq!(
        (&unset[0]["before"], &unset[0]["value"]),
        (&"7".into(), &Value::Null)
    );
    treeferry(&repo, ["config", "get", "core.tmp-expiry-secs"]).failure();

    let (secret, public) = (
        "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg==",
        "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    );
    let head = json(&repo, "rev-parse --json main")[0]["commit"].clone();
    let made = json(&repo, &format!("sign --json main {secret}"));
    assert_eq!((&made[0]["commit"], &made[0]["made"]), (&head, &1.into()));
    let verified = json(&repo, &format!("sign --verify --json main {public}"));
    assert_eq!(
        (&verified[0]["type"], &verified[0]["good"]),
        (&"ed25519".into(), &true.into())
    );
    assert_eq!(verified[0]["commit"], head);
    let other = "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=";
    treeferry(&repo, ["sign", "--verify", "--json", "main", other])
        .failure_naming(&["No valid signatures"]);
    let deleted = json(&repo, &format!("sign --delete --json main {public}"));
    assert_eq!(deleted[0]["deleted"], 1);

    let stick = std::path::PathBuf::from(format!("usb:{}", place.join("stick").display()));
    std::fs::create_dir(place.join("stick")).unwrap();
    treeferry(&stick, ["init"]).success();
    assert_eq!(json(&stick, "leases --json"), Vec::<Value>::new());
    let leases = place.join("stick/.ostree/repo/.treeferry/leases");
    std::fs::create_dir_all(&leases).unwrap();
    let (long, short) = (
        "00000000000000aa-0.write.3600000",
        "00000000000000bb-0.delete.1",
    );
    for lease in [long, short] {
        std::fs::write(leases.join(lease), "a builder that died\n0\n").unwrap();
    }
    std::thread::sleep(std::time::Duration::from_millis(50));
    let held = json(&stick, "leases --json");
    let told = |at: usize| {
        let lease = &held[at];
        (
            lease["lease"].clone(),
            lease["kind"].clone(),
            lease["expired"].clone(),
        )
    };
    assert_eq!(told(0), (long.into(), "write".into(), false.into()));
    assert_eq!(told(1), (short.into(), "delete".into(), true.into()));
    assert_eq!(
        (&held[0]["holder"], &held[0]["ttl_ms"]),
        (&"a builder that died".into(), &3_600_000.into())
    );
    let broken = json(&stick, &format!("leases --json --break={long}"));
    assert_eq!(broken[0]["lease"], long);
    assert!(!leases.join(long).exists());
}

#[test]
fn what_is_found_of_a_collection_is_told_as_json() {
    let place = Place::new();
    let source = place.join("source");
    treeferry(
        &source,
        ["init", "--mode=archive", "--collection-id=org.example.Os"],
    )
    .success();
    tree::write(&place.join("tree"), "file", b"content");
    let head = commit(&source, "os/stable", &place.join("tree"));
    treeferry(&source, ["summary", "-u", "--grace=0"]).success();
    let client = place.init_unsynced("client", "bare-user");
    let url = format!("file://{}", source.display());
    let collection = "--collection-id=org.example.Os";
    let add = [
        "remote",
        "add",
        "--no-gpg-verify",
        collection,
        "vendor",
        &url,
    ];
    treeferry(&client, add).success();
    let ask = "find-remotes --json --finders=config";
    let refs = "org.example.Os os/stable org.example.Os os/none";
    let found = json(&client, &format!("{ask} {refs}"));
    assert_eq!(
        (&found[0]["uri"], &found[0]["remote"]),
        (&url.as_str().into(), &"vendor".into())
    );
    assert_eq!(found[0]["refs"][0]["commit"], head);
    assert_eq!(
        (&found[1]["ref"], &found[1]["commit"]),
        (&"os/none".into(), &Value::Null)
    );
    let pulled = json(&client, &format!("{ask} --pull org.example.Os os/stable"));
    assert_eq!(pulled.len(), 2);
    assert_eq!(pulled[1]["refs"][0]["ref"], "vendor:os/stable");
    assert_eq!(pulled[1]["uri"], url);
}
