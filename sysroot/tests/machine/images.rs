//! composefs images of deployments.

use std::fs;

use treeferry_core::ErrorKind;
use treeferry_core::format::gvariant::Value;
use treeferry_core::ops::checkout::{Destination, checkout_image};
use treeferry_core::ops::commit::{CommitOptions, ImageDigest, TreeInput, commit};
use treeferry_core::ops::composefs::FileDigests;
use treeferry_sysroot::host::Call;

use crate::rig::{Rig, Tree, make_tree};

const CONFIGURATION: &str = "usr/lib/ostree/prepare-root.conf";

async fn configure(rig: &Rig, group: &str, key: &str, value: &str) {
    let path = rig.root().join("ostree/repo/config");
    let mut text = fs::read_to_string(&path).unwrap();
    text += &format!("[{group}]\n{key}={value}\n");
    fs::write(&path, text).unwrap();
}

/// Returns what was to be sealed.
fn sealed(rig: &Rig) -> Vec<String> {
    let calls = rig.recorder.calls.lock().unwrap();
    let files = |call: &Call| call.args[3..].to_vec();
    calls
        .iter()
        .filter(|call| call.program == "sh")
        .flat_map(files)
        .map(|file| file.into_string().unwrap())
        .collect()
}

#[tokio::test]
async fn a_deployment_has_an_image_where_somebody_wants_one() {
    for (repo, tree, karg, wanted) in [
        (None, None, None, false),
        (None, Some("no"), None, false),
        (None, Some("maybe"), None, true),
        (None, Some("yes"), None, true),
        (Some("yes"), None, None, true),
        (Some("maybe"), Some("no"), None, true),
        (Some("no"), None, None, false),
        (None, None, Some("ostree.prepare-root.composefs=yes"), true),
    ] {
        let mut rig = Rig::new().await;
        if let Some(repo) = repo {
            configure(&rig, "ex-integrity", "composefs", repo).await;
        }
        let text = format!("[composefs]\nenabled={}\n", tree.unwrap_or_default());
        let files = [(CONFIGURATION, text.as_str())];
        let files = &files[..usize::from(tree.is_some())];
        let commit = rig
            .commit(Tree {
                files,
                ..Tree::default()
            })
            .await;
        let state = rig.sysroot.load().await.unwrap();
        let mut new = rig.new_deployment(&state, commit);
        new.kargs = karg.map(treeferry_sysroot::KernelArgs::parse);
        rig.deploy_new(&state, &new).await.unwrap();
        let image = rig.path(0).await.join(".ostree.cfs");
        assert_eq!(image.exists(), wanted, "{repo:?} {tree:?} {karg:?}");
        if wanted {
            let same = rig.dir.path().join("same");
            let to = Destination::path(&same);
            checkout_image(rig.sysroot.repo(), &commit, &to, FileDigests::None)
                .await
                .unwrap();
            assert!(fs::read(&image).unwrap() == fs::read(&same).unwrap());
        }
    }
}

#[tokio::test]
async fn what_is_verified_at_boot_is_sealed() {
    for enabled in ["verity", "signed"] {
        let mut rig = Rig::new().await;
        let text = format!("[composefs]\nenabled={enabled}\n");
        let files = [(CONFIGURATION, text.as_str()), ("usr/bin/empty", "")];
        let tree = Tree {
            files: &files,
            ..Tree::default()
        };
        let commit = rig.commit(tree).await;
        rig.deploy(commit).await.unwrap();
        let sealed = sealed(&rig);
        let image = rig.path(0).await.join(".ostree.cfs");
        assert_eq!(sealed.last().unwrap(), image.to_str().unwrap());
        let objects = rig.root().join("ostree/repo/objects");
        assert!(sealed.len() > 2, "{sealed:?}");
        for object in &sealed[..sealed.len() - 1] {
            assert!(object.starts_with(objects.to_str().unwrap()), "{object}");
            assert!(fs::metadata(object).unwrap().len() > 0);
        }
    }
}

#[tokio::test]
async fn an_image_alone_is_sealed_where_that_can_be_had() {
    let mut rig = Rig::new().await;
    configure(&rig, "ex-integrity", "composefs", "yes").await;
    let commit = rig.commit(Tree::default()).await;
    rig.deploy(commit).await.unwrap();
    let image = rig.path(0).await.join(".ostree.cfs");
    assert_eq!(sealed(&rig), [image.to_str().unwrap()]);
}

#[tokio::test]
async fn an_image_that_is_not_the_commits_is_not_deployed() {
    for right in [false, true] {
        let rig = Rig::new().await;
        let dir = rig.dir.path().join("tree");
        let files = [(CONFIGURATION, "[composefs]\nenabled=verity\n")];
        make_tree(
            &dir,
            Tree {
                files: &files,
                ..Tree::default()
            },
        );
        let mut options = CommitOptions::default();
        options.target = Some("os/stable".parse().unwrap());
        options.trees = vec![TreeInput::Dir(dir)];
        let key = "ostree.composefs.digest.v0".to_owned();
        match right {
            true => options.image_digest = ImageDigest::Record,
            false => options.metadata = vec![(key, Value::Bytes(vec![1; 32]))],
        }
        let commit = commit(rig.sysroot.repo(), options).await.unwrap().commit;
        match (right, rig.deploy(commit).await) {
            (true, deployed) => drop(deployed.unwrap()),
            (false, refused) => {
                let error = refused.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Corrupt);
                assert!(
                    error.to_string().contains("doesn't match expected"),
                    "{error}"
                );
            }
        }
    }
}

#[tokio::test]
async fn what_a_copy_of_files_left_open_is_sealed_where_that_is_wanted() {
    for (fsverity, wanted) in [("no", false), ("yes", true)] {
        let mut rig = Rig::new().await;
        configure(&rig, "ex-integrity", "composefs", "yes").await;
        let commit = rig.commit(Tree::default()).await;
        rig.deploy(commit).await.unwrap();
        rig.recorder.calls.lock().unwrap().clear();
        configure(&rig, "ex-integrity", "fsverity", fsverity).await;
        assert_eq!(rig.sysroot.post_copy().await.unwrap(), 1);
        let image = rig.path(0).await.join(".ostree.cfs");
        let last = sealed(&rig).pop();
        assert_eq!(last.as_deref() == image.to_str(), wanted, "{last:?}");
    }
}
