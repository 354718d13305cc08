//! A deployment that is cut off anywhere leaves a machine that boots, and the next one completes.

use crate::rig::{Rig, Tree};

#[tokio::test]
async fn wherever_it_is_cut_off_old_or_new_boots_and_the_next_upgrade_completes() {
    for renamed in [false, true] {
        for failing in 1.. {
            let mut rig = Rig::with(|options| {
                if renamed {
                    options.boot_links = treeferry_sysroot::BootLinks::None;
                }
            })
            .await;
            let one = rig.commit(Tree::default()).await;
            rig.deploy(one).await.unwrap();
            let two = rig
                .commit(Tree {
                    version: "2",
                    kernel: "kernel 2",
                    files: &[],
                })
                .await;
            rig.fail_next_sync(failing);
            let cut = rig.deploy(two).await.is_err();
            rig.fail_next_sync(usize::MAX / 2);
            rig.check_bootable().await;
            let state = rig.sysroot.load().await.unwrap();
            let default = state.deployments[0].id.checksum;
            assert!(default == one || default == two);
            let three = rig
                .commit(Tree {
                    version: "3",
                    kernel: "kernel 3",
                    files: &[],
                })
                .await;
            rig.deploy(three).await.unwrap();
            rig.check_bootable().await;
            let state = rig.sysroot.load().await.unwrap();
            assert_eq!(state.deployments[0].id.checksum, three);
            if !cut {
                assert!(failing > 2, "nothing was cut");
                break;
            }
        }
    }
}
