//! What is done to a sysroot that was copied file by file, and labels of one that is being made.

use treeferry_core::error::Result;
use treeferry_core::ops::labels::Labels;

use crate::cleanup::all_deployments;
use crate::deployment::Deployment;
use crate::files::{self, Seal};
use crate::labels::label_tree;
use crate::sysroot::{Sealing, Sysroot};

impl Sysroot {
    /// Sets what a copy of files loses: the seals of deployments, and those by fs-verity where the repository's
    /// configuration wants them. Returns how many deployments there are.
    pub async fn post_copy(&self) -> Result<usize> {
        let all = self
            .run(|sysroot| {
                let all = all_deployments(sysroot)?;
                if sysroot.options().sealing == Sealing::Sealed {
                    for id in &all {
                        files::set_seal(&sysroot.layout().deployment(id), Seal::On)?;
                    }
                }
                Ok(all)
            })
            .await?;
        let count = all.len();
        self.seal_deployments(all).await?;
        Ok(count)
    }

    /// Labels what has no label in the sysroot, by the policy of a deployment; `None` when that has
    /// none. Returns the name of the policy, and how many labels were set.
    pub async fn ensure_labels(&self, deployment: &Deployment) -> Result<Option<(String, u64)>> {
        let id = deployment.id.clone();
        self.run(move |sysroot| {
            let root = sysroot.layout().deployment(&id);
            let Some(labels) = Labels::read_directory(&root)? else {
                return Ok(None);
            };
            let mut set = 0;
            let tops = ["boot", "dev", "home", "proc", "root", "run", "sys", "tmp"];
            for top in tops {
                set += label_tree(
                    &labels,
                    &sysroot.layout().root().join(top),
                    &format!("/{top}"),
                )?;
            }
            let var = sysroot.layout().stateroot(&id.stateroot).join("var");
            set += label_tree(&labels, &var, "/var")?;
            set += label_tree(&labels, &root, "/")?;
            Ok(Some((labels.name().to_owned(), set)))
        })
        .await
    }
}
