//! The composefs image of a deployment, from which early boot may mount it: `.ostree.cfs` in its directory.

use std::path::Path;

use futures::TryStreamExt;
use treeferry_core::error::{Error, Result};
use treeferry_core::format::keyfile::KeyFile;
use treeferry_core::format::{ContentLayout, ObjectName};
use treeferry_core::ops::checkout::{Destination, checkout_image};
use treeferry_core::ops::composefs::FileDigests;
use treeferry_core::ops::list::{ListDepth, ListNode, ListOptions, list};
use treeferry_prepare_root::cmdline::KernelCmdline;
use treeferry_prepare_root::config::{Composefs, RootConfig};

use crate::deploy::NewDeployment;
use crate::files;
use crate::integrity::{Integrity, Wanted};
use crate::names::DeploymentId;
use crate::sysroot::Sysroot;
use crate::verity;

/// Its name in the deployment's directory.
pub(crate) const IMAGE: &str = ".ostree.cfs";

/// Where early boot looks for `prepare-root.conf` in a tree; what is below `/usr/etc` will be below `/etc`.
const CONFIGURATIONS: [&str; 2] = [
    "usr/etc/ostree/prepare-root.conf",
    "usr/lib/ostree/prepare-root.conf",
];

impl Sysroot {
    /// Writes the image of a deployment that is checked out, if the repository's configuration, the tree's or
    /// its kernel arguments want one.
    ///
    /// Where early boot is to verify what it mounts, the image is the one whose digest the commit records, if it
    /// records one, and the tree's objects are sealed.
    pub(crate) async fn write_image(&self, id: &DeploymentId, new: &NewDeployment) -> Result<()> {
        let config = self.repo().config().await?;
        let integrity = Integrity::parse(&config)?;
        let kernel = match (&new.kargs, &new.merge) {
            (Some(args), _) => args.to_string(),
            (None, Some(merge)) => merge.entry.args().to_string(),
            (None, None) => String::new(),
        };
        let root = self.layout().deployment(id);
        let tree = root.clone();
        let boot = self
            .run(move |_| {
                let file = configuration(&tree)?;
                Ok(RootConfig::read(&file, &config, &KernelCmdline::parse(&kernel))?.composefs)
            })
            .await?;
        if boot == Composefs::No && integrity.composefs == Wanted::No {
            return Ok(());
        }
        tracing::info!(deployment = %id, "step: writing the composefs image");
        let verified = matches!(boot, Composefs::Verity | Composefs::Signed);
        let digests = match verified {
            true => FileDigests::All,
            false => FileDigests::Sealed,
        };
        if verified || integrity.fsverity == Wanted::Yes {
            self.seal_objects(id).await?;
        }
        let path = root.join(IMAGE);
        let to = Destination::path(&path);
        checkout_image(self.repo(), &id.checksum, &to, digests).await?;
        let wanted = match verified {
            true => Wanted::Yes,
            false => integrity.fsverity,
        };
        if wanted == Wanted::No {
            return Ok(());
        }
        self.run(
            move |sysroot| match verity::seal(&*sysroot.options().host.programs, [path]) {
                Err(e) if wanted == Wanted::Yes => Err(e),
                Err(e) => {
                    tracing::debug!(error = %e, "the image stays without fs-verity");
                    Ok(())
                }
                Ok(_) => Ok(()),
            },
        )
        .await
    }

    /// Seals by fs-verity what a copy of files left open, the images and content of deployments, if the
    /// repository's configuration wants that.
    pub(crate) async fn seal_deployments(&self, all: Vec<DeploymentId>) -> Result<()> {
        let wanted = Integrity::parse(&self.repo().config().await?)?.fsverity;
        if wanted == Wanted::No {
            return Ok(());
        }
        let sealed = async {
            for id in &all {
                self.seal_objects(id).await?;
            }
            let image = |id: &DeploymentId| self.layout().deployment(id).join(IMAGE);
            let images: Vec<_> = all.iter().map(image).collect();
            self.run(move |sysroot| {
                let mut there = Vec::new();
                for image in images {
                    if files::look(&image)?.is_some() {
                        there.push(image);
                    }
                }
                verity::seal(&*sysroot.options().host.programs, there)
            })
            .await
        };
        match sealed.await {
            Err(e) if wanted == Wanted::Maybe => {
                tracing::debug!(error = %e, "files stay without fs-verity");
                Ok(())
            }
            sealed => sealed.map(drop),
        }
    }

    /// Seals the content of a commit's files.
    async fn seal_objects(&self, id: &DeploymentId) -> Result<()> {
        let root = self.repo().tree_of(&id.checksum).await?;
        let mut options = ListOptions::default();
        options.depth = ListDepth::All;
        let mut entries = list(self.repo(), root, "/", options).await?;
        let objects = self.layout().repo().join("objects");
        let mut files = std::collections::BTreeSet::new();
        while let Some(entry) = entries.try_next().await? {
            let ListNode::File { checksum, details } = entry.node else {
                continue;
            };
            if details.is_some_and(|file| file.content_bytes > 0) {
                let name = ObjectName::file(checksum);
                files.insert(objects.join(name.loose_path(ContentLayout::Bare)));
            }
        }
        self.run(move |sysroot| {
            let sealed = verity::seal(&*sysroot.options().host.programs, files)?;
            tracing::info!(sealed, "objects were sealed by fs-verity");
            Ok(())
        })
        .await
    }
}

/// Reads the tree's own `prepare-root.conf`, the one that early boot would read.
fn configuration(tree: &Path) -> Result<KeyFile> {
    for name in CONFIGURATIONS {
        let path = tree.join(name);
        if let Some(text) = files::read_text(&path)? {
            return KeyFile::parse(text).map_err(|e| Error::from(e).about(path));
        }
    }
    Ok(KeyFile::new())
}
