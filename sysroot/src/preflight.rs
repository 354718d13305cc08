//! How much room a deployment needs, before anything is written.

use std::collections::BTreeMap;
use std::path::Path;

use futures::TryStreamExt;
use treeferry_core::error::{Error, ErrorKind, Result};
use treeferry_core::format::{Checksum, ObjectName, ObjectSize, ObjectType, read_sizes};
use treeferry_core::ops::list::{ListDepth, ListDetails, ListEntry, ListNode, ListOptions, list};
use treeferry_core::repo::{Certainty, TreeRoot};
use treeferry_core::store::LinkView;

use crate::boot_space::Room;
use crate::deployment::Deployment;
use crate::files;
use crate::load::State;
use crate::names::{DeploymentId, Stateroot};
use crate::order::{Placement, Retain};
use crate::sysroot::Sysroot;

/// How much room a deployment needs and has. What cannot be told yet is `None`: without the tree of
/// the commit nothing is known of deployment and `/boot`, without its sizes nothing of the repository.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preflight {
    /// In the repository, for objects that are not there.
    pub repo: Option<Need>,
    /// For the deployment: directories, and what is copied rather than linked.
    pub deployment: Option<Need>,
    /// In `/boot`.
    pub boot: Option<Need>,
}

/// What is needed somewhere, and what is there, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Need {
    /// What is needed.
    pub needed_bytes: u64,
    /// Whether that is so, or an estimate.
    pub certainty: Certainty,
    /// What is free.
    pub available_bytes: u64,
    /// What becomes free on the way, if that is needed.
    pub removable_bytes: u64,
}

impl Need {
    /// Decides whether there is room.
    pub fn room(&self) -> Room {
        match self.needed_bytes {
            needed if needed <= self.available_bytes => Room::Enough,
            needed if needed <= self.available_bytes + self.removable_bytes => Room::AfterRemoval,
            _ => Room::TooLittle,
        }
    }
}

impl Preflight {
    /// Fails if there is too little room anywhere.
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`], with what is needed and available, of the first place that lacks it.
    pub fn check(&self) -> Result<()> {
        let places = [
            ("the repository", self.repo),
            ("the deployment", self.deployment),
            ("/boot", self.boot),
        ];
        for (place, need) in places {
            let Some(need) = need.filter(|need| need.room() == Room::TooLittle) else {
                continue;
            };
            let kind = ErrorKind::NoSpace {
                needed_bytes: Some(need.needed_bytes),
                available_bytes: Some(need.available_bytes),
            };
            let about = match need.certainty {
                Certainty::Exact => "",
                Certainty::Estimated => "about ",
            };
            let problem = format!(
                "no room for {place}: {about}{} bytes needed, {} available, {} would become free",
                need.needed_bytes, need.available_bytes, need.removable_bytes
            );
            return Err(Error::new(kind, problem));
        }
        Ok(())
    }
}

/// What a tree boots from, by name: object and length.
type BootFiles = BTreeMap<String, (Checksum, u64)>;

impl Sysroot {
    /// Returns how much room the deployment of a commit needs and has. Nothing is written.
    pub async fn preflight(
        &self,
        state: &State,
        stateroot: &Stateroot,
        commit: &Checksum,
    ) -> Result<Preflight> {
        let repo = self.layout().repo();
        let (block, available_bytes) = self
            .run(move |_| Ok((files::block_bytes(&repo)?, files::available_bytes(&repo)?)))
            .await?;
        let need = |needed_bytes, certainty| Need {
            needed_bytes,
            certainty,
            available_bytes,
            removable_bytes: 0,
        };
        let missing = self.missing_bytes(commit, block).await?;
        let root = self.repo().tree_of(commit).await?;
        let tree = match self.measure_deployment(root, block).await {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == ErrorKind::Missing => None,
            Err(error) => return Err(error),
        };
        let boot = match tree {
            Some(_) => self.boot_need(state, stateroot, root).await?,
            None => None,
        };
        Ok(Preflight {
            repo: missing.map(|bytes| need(bytes, Certainty::Exact)),
            // How long a directory is, the filesystem decides.
            deployment: tree.map(|bytes| need(bytes, Certainty::Estimated)),
            boot,
        })
    }

    /// Sums up objects that are not there, if the commit says how long they are.
    async fn missing_bytes(&self, commit: &Checksum, block: u64) -> Result<Option<u64>> {
        let commit = self.repo().load_commit(commit).await?;
        let Some(sizes) = read_sizes(&commit.metadata)? else {
            return Ok(None);
        };
        // Lists of old do not say of which kind an object is: then it is a file.
        let name = |size: &ObjectSize| {
            let object_type = size.object_type.unwrap_or(ObjectType::File);
            ObjectName::new(object_type, size.checksum)
        };
        let names: Vec<_> = sizes.iter().map(name).collect();
        let there = self.repo().objects().stat(&names).await?;
        let missing = sizes.iter().zip(there).filter(|(_, stat)| stat.is_none());
        Ok(Some(
            missing
                .map(|(size, _)| rounded(size.unpacked_bytes, block))
                .sum(),
        ))
    }

    /// Sums up directories and what is copied: `/usr/etc`, and everything where no hard links can be.
    async fn measure_deployment(&self, root: TreeRoot, block: u64) -> Result<u64> {
        let links = self
            .repo()
            .objects()
            .local()
            .is_some_and(|local| local.link_view() == LinkView::Full);
        let mut options = ListOptions::default();
        options.depth = ListDepth::All;
        let mut entries = list(self.repo(), root, "/", options).await?;
        let mut bytes = 0;
        while let Some(entry) = entries.try_next().await? {
            let is_config = entry.path.starts_with("/usr/etc") || entry.path.starts_with("/etc");
            bytes += match &entry.node {
                ListNode::Dir { .. } if is_config => 2 * block,
                ListNode::Dir { .. } => block,
                ListNode::File {
                    details: Some(details),
                    ..
                } if is_config || !links => rounded(details.content_bytes, block),
                ListNode::File { .. } => 0,
            };
        }
        Ok(bytes)
    }

    /// Returns what `/boot` needs for a tree: nothing, if some deployment boots from the same files.
    async fn boot_need(
        &self,
        state: &State,
        stateroot: &Stateroot,
        root: TreeRoot,
    ) -> Result<Option<Need>> {
        let files = self.boot_files(root).await?;
        let deployments = self.staying(state, stateroot);
        let space = self
            .run(move |sysroot| crate::boot_space::measure(sysroot, &deployments))
            .await?;
        let mut shared = space.place == crate::boot_space::BootPlace::Shared;
        for deployment in state
            .deployments
            .iter()
            .filter(|d| d.id.stateroot == *stateroot)
        {
            let other = self.repo().tree_of(&deployment.id.checksum).await?;
            shared |= self.boot_files(other).await? == files;
        }
        let boot = self.layout().boot();
        let block = self.run(move |_| files::block_bytes(&boot)).await?;
        let new: u64 = files
            .values()
            .map(|(_, bytes)| rounded(*bytes, block))
            .sum();
        Ok(Some(Need {
            needed_bytes: space.needed_bytes + if shared { 0 } else { new + 2 * block },
            certainty: Certainty::Exact,
            available_bytes: space.available_bytes,
            removable_bytes: space.removable_bytes,
        }))
    }

    /// Returns the deployments that are there after another one in a stateroot, without that.
    fn staying(&self, state: &State, stateroot: &Stateroot) -> Vec<Deployment> {
        let new = DeploymentId {
            stateroot: stateroot.clone(),
            checksum: Checksum::of(b""),
            serial: u32::MAX,
        };
        let merge = state.merge_source(stateroot).map(|merge| &merge.id);
        let (placement, retain) = (Placement::Default, Retain::default());
        let mut all = self.order(
            state,
            Deployment::new(new.clone()),
            merge,
            placement,
            retain,
        );
        all.retain(|deployment| deployment.id != new);
        all
    }

    /// Finds what a tree boots from, by the headers of its files alone.
    async fn boot_files(&self, root: TreeRoot) -> Result<BootFiles> {
        let mut found = BTreeMap::new();
        for place in ["/usr/lib/modules", "/usr/lib/ostree-boot", "/boot"] {
            if self.repo().find_path(root, place).await?.is_none() {
                continue;
            }
            let mut options = ListOptions::default();
            options.depth = ListDepth::All;
            options.details = ListDetails::All;
            let mut entries = list(self.repo(), root, place, options).await?;
            while let Some(ListEntry { path, node }) = entries.try_next().await? {
                let ListNode::File {
                    checksum,
                    details: Some(details),
                } = node
                else {
                    continue;
                };
                if is_boot_file(&path) {
                    found.insert(path, (checksum, details.content_bytes));
                }
            }
            if !found.is_empty() {
                break;
            }
        }
        Ok(found)
    }
}

fn is_boot_file(path: &str) -> bool {
    let name = Path::new(path)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let in_modules = path.strip_prefix("/usr/lib/modules/");
    let depth = in_modules.map_or(0, |rest| rest.matches('/').count());
    let named = [
        "vmlinuz",
        "initramfs",
        "devicetree",
        ".vmlinuz.hmac",
        "aboot.img",
    ];
    match in_modules {
        Some(rest) => {
            let in_trees = rest.split('/').nth(1) == Some("dtb");
            in_trees || depth == 1 && named.iter().any(|n| name == *n || name == "initramfs.img")
        }
        None => named.iter().any(|n| name.starts_with(&format!("{n}-"))),
    }
}

fn rounded(bytes: u64, block: u64) -> u64 {
    bytes.div_ceil(block.max(1)) * block.max(1)
}
