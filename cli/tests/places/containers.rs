//! Repositories in containers of Azure's emulator, from the command line.

use std::path::{Path, PathBuf};

use crate::addresses::sqlite;
use crate::servers::{BUCKET, azurite, fresh_address_of};
use crate::support::run::{Ran, ostree, treeferry, treeferry_command};
use crate::support::tree::write;
use crate::support::{Place, add_origin, assert_c_fsck, commit, rev};

/// Runs our command with what the environment says of the emulator.
fn azure<'a>(repo: &Path, words: impl IntoIterator<Item = &'a str>) -> Ran {
    let mut command = treeferry_command(repo, words);
    let url = format!("http://127.0.0.1:{}", azurite().port);
    command.env("AZURE_STORAGE_USE_EMULATOR", "true");
    Ran::of(command.env("AZURITE_BLOB_STORAGE_URL", url))
}

#[test]
#[cfg_attr(
    not(all(has_azurite, has_ostree)),
    ignore = "needs Azurite, and ostree"
)]
fn a_repository_in_a_container_is_pushed_to_pulled_pruned_checked_and_copied() {
    let place = Place::new();
    let (repo, tree) = (place.init("source", "bare-user"), place.join("tree"));
    for at in 0..40 {
        write(
            &tree,
            format!("d{}/{at}", at % 7),
            format!("{at}").as_bytes(),
        );
    }
    let first = commit(&repo, "os/stable", &tree);
    let address = fresh_address_of("az");
    let container = PathBuf::from(&address);
    azure(&container, ["refs"]).failure_naming(&[&address, "no repository"]);
    azure(&repo, ["push", "--summary", &address, "os/stable"]).success();
    // All may read what is in the container, over plain HTTP.
    let place_in_it = address.strip_prefix("az://").unwrap();
    assert!(place_in_it.starts_with(BUCKET));
    let url = format!(
        "http://127.0.0.1:{}/devstoreaccount1/{place_in_it}",
        azurite().port
    );
    let client = place.init_c("client", "archive");
    add_origin(&client, &url);
    ostree(&client, ["pull", "origin", "os/stable"]).success();
    assert_c_fsck(&client);
    assert_eq!(rev(&client, "origin:os/stable").unwrap(), first);

    write(&tree, "d1/1", b"second");
    let second = commit(&repo, "os/stable", &tree);
    let said = azure(&repo, ["push", "--summary", &address, "os/stable"]).success();
    let moved = "3 metadata, 1 content objects moved";
    assert!(said.out.starts_with(moved), "{}", said.out);
    ostree(&client, ["pull", "origin", "os/stable"]).success();
    assert_eq!(rev(&client, "origin:os/stable").unwrap(), second);

    let pruned = azure(
        &container,
        ["prune", "--refs-only", "--depth=0", "--grace=0"],
    );
    let pruned = pruned.success().out;
    // The first commit, its root, a directory, and the file that has changed.
    assert!(pruned.contains("Deleted 4 objects"), "{pruned}");
    azure(&container, ["fsck"]).success();
    azure(&container, ["cat", &first, "d1/1"]).failure_naming(&[&first]);
    let file = sqlite(&place, "file.sqlite");
    azure(&container, ["copy", &address, file.to_str().unwrap()]).success();
    let copied = treeferry(&file, ["rev-parse", "os/stable"])
        .success()
        .trim();
    assert_eq!(copied, second);
    let leases = azure(&container, ["leases"]).success().trim();
    assert_eq!(leases, "no leases are held");
    // Who has no keys reads, and does not write.
    let public = format!("{address}?anonymous");
    azure(Path::new(&public), ["fsck"]).success();
    azure(&repo, ["push", &public]).failure_naming(&["cannot be written to"]);
}
