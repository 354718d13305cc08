//! A sysroot to try things on, and what it would do to the machine around it, recorded.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use treeferry_core::error::{Error, ErrorKind, Result};
use treeferry_core::format::Checksum;
use treeferry_core::ops::commit::{CommitOptions, TreeInput, commit};
use treeferry_sysroot::host::{BootSync, Call, Host, Mounts, Overlay, Power, Programs};
use treeferry_sysroot::order::{Placement, Retain};
use treeferry_sysroot::{
    BootLinks, Cleanup, Deployed, EntryNaming, Epoch, NewDeployment, OpenOptions, Origin,
    RootInode, Running, Sealing, State, Stateroot, Sysroot, VarLayout,
};

/// What would have been done to the machine.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) calls: Mutex<Vec<Call>>,
    pub(crate) overlays: Mutex<Vec<Overlay>>,
    pub(crate) reboots: AtomicUsize,
    syncs: AtomicUsize,
    /// Which sync fails, counted from 1; 0 for none.
    failing_sync: AtomicUsize,
}

impl Programs for Recorder {
    fn run(&self, call: &Call) -> Result<()> {
        // The one thing that is looked for afterwards: the file that GRUB's script writes.
        if let Some(at) = call.args.iter().position(|arg| arg == "-o")
            && call.program == "grub2-mkconfig"
        {
            fs::write(&call.args[at + 1], "menu").unwrap();
        }
        self.calls.lock().unwrap().push(call.clone());
        Ok(())
    }
}

impl Mounts for Recorder {
    fn overlay(&self, overlay: &Overlay) -> Result<()> {
        self.overlays.lock().unwrap().push(overlay.clone());
        Ok(())
    }
}

impl BootSync for Recorder {
    fn sync_deployments(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    fn sync_boot(&self, _: &Path) -> Result<()> {
        let number = self.syncs.fetch_add(1, Ordering::SeqCst) + 1;
        match self.failing_sync.load(Ordering::SeqCst) == number {
            true => Err(Error::new(ErrorKind::Indeterminate, "the power went")),
            false => Ok(()),
        }
    }
}

impl Power for Recorder {
    fn reboot(&self) -> Result<()> {
        self.reboots.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// A sysroot to try things on.
pub(crate) struct Rig {
    pub(crate) dir: TempDir,
    pub(crate) sysroot: Sysroot,
    pub(crate) recorder: Arc<Recorder>,
    trees: usize,
}

/// What a tree is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tree<'a> {
    pub(crate) version: &'a str,
    pub(crate) kernel: &'a str,
    pub(crate) files: &'a [(&'a str, &'a str)],
}

impl Default for Tree<'_> {
    fn default() -> Self {
        Self {
            version: "1",
            kernel: "kernel 1",
            files: &[],
        }
    }
}

pub(crate) fn os() -> Stateroot {
    Stateroot::new("os").unwrap()
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// Makes a sysroot with a stateroot `os`, opened with changed options.
    pub(crate) async fn with(change: impl FnOnce(&mut OpenOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        let recorder = Arc::new(Recorder::default());
        let mut options = options(&recorder);
        change(&mut options);
        let sysroot = Sysroot::create(&root, Epoch::Modern, options)
            .await
            .unwrap();
        sysroot
            .create_stateroot(&os(), VarLayout::Traditional)
            .await
            .unwrap();
        Self {
            dir,
            sysroot,
            recorder,
            trees: 0,
        }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Records a tree on the branch `os/stable`.
    pub(crate) async fn commit(&mut self, tree: Tree<'_>) -> Checksum {
        self.trees += 1;
        let dir = self.dir.path().join(format!("tree-{}", self.trees));
        make_tree(&dir, tree);
        self.commit_dir(&dir, tree.version).await
    }

    pub(crate) async fn commit_dir(&mut self, dir: &Path, version: &str) -> Checksum {
        let mut options = CommitOptions::default();
        options.target = Some("os/stable".parse().unwrap());
        options.trees = vec![TreeInput::Dir(dir.to_owned())];
        options.timestamp = 1_700_000_000 + self.trees as u64;
        options.metadata = vec![("version".to_owned(), version.into())];
        commit(self.sysroot.repo(), options).await.unwrap().commit
    }

    /// Deploys a commit as `admin deploy` does.
    pub(crate) async fn deploy(&self, commit: Checksum) -> Result<Deployed> {
        let state = self.sysroot.load().await?;
        let new = self.new_deployment(&state, commit);
        self.deploy_new(&state, &new).await
    }

    pub(crate) fn new_deployment(&self, state: &State, commit: Checksum) -> NewDeployment {
        let origin = Origin::from_refspec("os/stable").unwrap();
        let mut new = NewDeployment::new(os(), commit, origin);
        new.merge = state.merge_source(&os()).cloned();
        new
    }

    pub(crate) async fn deploy_new(&self, state: &State, new: &NewDeployment) -> Result<Deployed> {
        self.sysroot.cleanup(Cleanup::Deployments).await?;
        let deployed = self.sysroot.deploy(new).await?;
        let merge = new.merge.as_ref().map(|merge| &merge.id);
        let (placement, retain) = (Placement::Default, Retain::default());
        let deployment = deployed.deployment.clone();
        self.sysroot
            .add_deployment(state, deployment, merge, placement, retain)
            .await?;
        self.sysroot.cleanup(Cleanup::AndRepo).await?;
        Ok(deployed)
    }

    /// Opens the sysroot as a system does that runs from the deployment at `index`.
    pub(crate) async fn boot(&mut self, index: usize, boot_id: &str) {
        let state = self.sysroot.load().await.unwrap();
        let path = self
            .sysroot
            .layout()
            .deployment(&state.deployments[index].id);
        let meta = fs::metadata(path).unwrap();
        let mut options = self.sysroot.options().clone();
        options.running = Running {
            root: Some(RootInode {
                device: meta.dev(),
                inode: meta.ino(),
            }),
            run: self.dir.path().join(format!("run-{boot_id}")),
            boot_id: boot_id.to_owned(),
        };
        fs::create_dir_all(&options.running.run).unwrap();
        self.sysroot = Sysroot::open(self.root(), options).await.unwrap();
    }

    /// Makes a sync of `/boot` fail: the one with that number from now on, counted from 1.
    pub(crate) fn fail_next_sync(&self, number: usize) {
        let now = self.recorder.syncs.load(Ordering::SeqCst);
        let failing = &self.recorder.failing_sync;
        failing.store(now.saturating_add(number), Ordering::SeqCst);
    }

    /// Returns the deployment directory at `index`.
    pub(crate) async fn path(&self, index: usize) -> PathBuf {
        let state = self.sysroot.load().await.unwrap();
        self.sysroot
            .layout()
            .deployment(&state.deployments[index].id)
    }

    /// Checks that everything the menu names is there.
    pub(crate) async fn check_bootable(&self) {
        let state = self.sysroot.load().await.unwrap();
        assert!(!state.deployments.is_empty());
        for deployment in &state.in_menu() {
            let boot = self.sysroot.layout().boot();
            for key in ["linux", "initrd"] {
                let path = deployment.entry.get(key).unwrap();
                let path = boot.join(path.trim_start_matches('/'));
                assert!(path.exists(), "{path:?}");
            }
            let link = deployment.entry.link().unwrap().unwrap();
            let root = self.sysroot.layout().boot_link(&link);
            assert!(root.join("usr/bin/sh").exists(), "{root:?}");
            assert!(root.join("etc").is_dir(), "{root:?}");
        }
    }
}

fn options(recorder: &Arc<Recorder>) -> OpenOptions {
    OpenOptions {
        host: Host {
            programs: recorder.clone(),
            mounts: recorder.clone(),
            boot_sync: recorder.clone(),
            power: recorder.clone(),
        },
        sealing: Sealing::Mutable,
        naming: EntryNaming::Rank,
        boot_links: BootLinks::Detect,
        ..OpenOptions::default()
    }
}

/// Writes a tree that can be deployed.
pub(crate) fn make_tree(dir: &Path, tree: Tree<'_>) {
    let os_release = format!(
        "NAME=Test\nID=test\nPRETTY_NAME=\"Test {}\"\n",
        tree.version
    );
    write(dir, "usr/lib/os-release", &os_release);
    write(dir, "usr/lib/modules/6.1/vmlinuz", tree.kernel);
    write(dir, "usr/lib/modules/6.1/initramfs.img", "an initramfs");
    write(dir, "usr/bin/sh", "a shell");
    write(dir, "usr/etc/shipped.conf", "shipped");
    fs::create_dir_all(dir.join("var")).unwrap();
    for (path, content) in tree.files {
        write(dir, path, content);
    }
}

pub(crate) fn write(dir: &Path, path: &str, content: &str) {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

pub(crate) fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path.as_ref()).unwrap_or_else(|e| panic!("{:?}: {e}", path.as_ref()))
}

/// Runs the C `ostree`, which must succeed.
pub(crate) fn ostree(args: &[&str]) -> String {
    let (ok, out, err) = try_ostree(args);
    assert!(ok, "ostree {args:?}: {err}");
    out
}

/// Runs the C `ostree`.
pub(crate) fn try_ostree(args: &[&str]) -> (bool, String, String) {
    let output = Command::new("ostree")
        .args(args)
        .env("OSTREE_SYSROOT_DEBUG", "mutable-deployments")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.success(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Returns what is in a sysroot, by path: kind, mode, owner, and target or content. What is the
/// repository's own, and what only one of the implementations keeps, is left out.
pub(crate) fn listing(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let shown = path
            .strip_prefix(root)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let parts: Vec<_> = shown.split('/').collect();
        let own =
            matches!(
                shown.as_str(),
                "ostree/repo" | "ostree/lock" | "ostree/treeferry-transition"
            ) || parts.len() == 4 && parts[..2] == ["ostree", "deploy"] && parts[3] == "backing";
        if own {
            continue;
        }
        let meta = fs::symlink_metadata(&path).unwrap();
        let what = if meta.is_dir() {
            todo.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            String::new()
        } else if meta.is_symlink() {
            fs::read_link(&path).unwrap().to_string_lossy().into_owned()
        } else {
            String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned()
        };
        let mode = meta.permissions().mode();
        found.insert(
            shown,
            format!("{mode:o} {}:{} {what}", meta.uid(), meta.gid()),
        );
    }
    found
}
