//! An upgrade costs what is new, and a constant.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::rig::{Rig, Tree, make_tree, write};

/// Returns how much room is taken below `root`, each inode counted once, bytes.
fn used_bytes(root: &Path) -> u64 {
    let (mut seen, mut bytes) = (HashSet::new(), 0);
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        if seen.insert(meta.ino()) {
            bytes += meta.blocks() * 512;
        }
        if meta.is_dir() {
            todo.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
    }
    bytes
}

#[tokio::test]
#[cfg_attr(not(is_root), ignore = "needs root: owners are part of what is linked")]
async fn an_upgrade_costs_what_is_new_and_a_constant() {
    const FILES: usize = 2000;
    const FILE_BYTES: usize = 20_000;
    const DIRS: usize = 100;
    let mut rig = Rig::new().await;
    let tree = rig.dir.path().join("big");
    make_tree(&tree, Tree::default());
    for index in 0..FILES {
        let content = format!("{index} ").repeat(FILE_BYTES / 2);
        write(
            &tree,
            &format!("usr/share/{}/{index}", index % DIRS),
            &content[..FILE_BYTES],
        );
    }
    let one = rig.commit_dir(&tree, "1").await;
    rig.deploy(one).await.unwrap();
    let before = used_bytes(&rig.root());
    let new: usize = 5;
    for index in 0..new {
        write(
            &tree,
            &format!("usr/share/{index}/{index}"),
            &"x".repeat(FILE_BYTES),
        );
        write(
            &tree,
            &format!("usr/share/{index}/{index}"),
            &format!("{index}").repeat(FILE_BYTES),
        );
    }
    let two = rig.commit_dir(&tree, "2").await;
    rig.deploy(two).await.unwrap();
    let cost = used_bytes(&rig.root()) - before;
    let (tree_bytes, new_bytes) = (FILES * FILE_BYTES, new * FILE_BYTES);
    println!(
        "a tree of {tree_bytes} bytes; v1 -> v2 has {new_bytes} new: the upgrade took {cost} bytes on \
         disk, {} beyond what is new",
        cost as i64 - new_bytes as i64
    );
    // Directories cannot be shared, and metadata of those that changed is new.
    let constant = 4096 * (DIRS as u64 + 100);
    assert!(cost < new_bytes as u64 + constant, "{cost}");
    rig.check_bootable().await;
}
