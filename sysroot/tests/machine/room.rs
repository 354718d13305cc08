//! Room: known before anything is written, and made where what goes anyway is enough.

use std::path::Path;
use std::process::Command;

use treeferry_core::ErrorKind;
use treeferry_core::repo::Certainty;
use treeferry_sysroot::{Cleanup, Room};

use crate::rig::{Rig, Tree, listing, os};

/// A filesystem in memory of a fixed size, mounted.
struct Small(std::path::PathBuf);

impl Small {
    fn mount(at: &Path, bytes: u64) -> Self {
        let options = format!("size={bytes},mode=755");
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(at)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Self(at.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

const KERNEL: usize = 1 << 20;

fn kernel(letter: &str) -> String {
    letter.repeat(KERNEL)
}

#[tokio::test]
#[cfg_attr(not(is_root), ignore = "needs root, to mount")]
async fn a_boot_that_holds_two_kernels_takes_a_third_in_two_steps() {
    let mut rig = Rig::new().await;
    let _boot = Small::mount(&rig.root().join("boot"), (2 * KERNEL + 200_000) as u64);
    for (version, letter) in [("1", "a"), ("2", "b"), ("3", "c"), ("4", "d")] {
        let kernel = kernel(letter);
        let commit = rig
            .commit(Tree {
                version,
                kernel: &kernel,
                files: &[],
            })
            .await;
        let state = rig.sysroot.load().await.unwrap();
        let room = rig.sysroot.preflight(&state, &os(), &commit).await.unwrap();
        let boot = room.boot.unwrap();
        assert_eq!(boot.certainty, Certainty::Exact);
        // It is the kernel, and what goes with it.
        assert!(
            (KERNEL as u64..KERNEL as u64 + 100_000).contains(&boot.needed_bytes),
            "{boot:?}"
        );
        room.check().unwrap();
        rig.deploy(commit).await.unwrap();
        rig.check_bootable().await;
    }
    let state = rig.sysroot.load().await.unwrap();
    assert_eq!(state.deployments.len(), 2);
}

#[tokio::test]
#[cfg_attr(not(is_root), ignore = "needs root, to mount")]
async fn a_full_boot_is_told_before_anything_is_written_and_nothing_loops() {
    let mut rig = Rig::new().await;
    let _boot = Small::mount(&rig.root().join("boot"), (KERNEL + 300_000) as u64);
    let (a, b) = (kernel("a"), kernel("b"));
    let one = rig
        .commit(Tree {
            kernel: &a,
            ..Tree::default()
        })
        .await;
    rig.deploy(one).await.unwrap();
    let before = listing(&rig.root());
    let two = rig
        .commit(Tree {
            version: "2",
            kernel: &b,
            files: &[],
        })
        .await;
    let state = rig.sysroot.load().await.unwrap();
    let room = rig.sysroot.preflight(&state, &os(), &two).await.unwrap();
    assert_eq!(room.boot.unwrap().room(), Room::TooLittle);
    let error = room.check().unwrap_err();
    let ErrorKind::NoSpace {
        needed_bytes: Some(needed),
        available_bytes: Some(available),
    } = error.kind()
    else {
        panic!("{error:?}");
    };
    assert!(needed > available && needed > KERNEL as u64);
    assert!(
        error.to_string().starts_with("no room for /boot: "),
        "{error}"
    );
    // Who does not ask is told by the write, which has touched nothing that boots.
    for _ in 0..2 {
        let error = rig.deploy(two).await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::NoSpace { .. }),
            "{error:?}"
        );
        rig.sysroot.cleanup(Cleanup::Deployments).await.unwrap();
        assert_eq!(listing(&rig.root()), before);
        rig.check_bootable().await;
    }
}

#[tokio::test]
async fn preflight_says_what_is_known() {
    let mut rig = Rig::new().await;
    let one = rig.commit(Tree::default()).await;
    let state = rig.sysroot.load().await.unwrap();
    let room = rig.sysroot.preflight(&state, &os(), &one).await.unwrap();
    // A commit without sizes says nothing of the repository.
    assert!(room.repo.is_none());
    let deployment = room.deployment.unwrap();
    assert_eq!(
        (deployment.certainty, deployment.room()),
        (Certainty::Estimated, Room::Enough)
    );
    assert!(deployment.needed_bytes >= 4096 * 7, "{deployment:?}");
    room.check().unwrap();
}
