//! Makes a list of deployments the one that the machine boots.
//!
//! Everything new is written beside what counts, and synced; then one rename changes the machine.
//! Cut off before it, the machine is as it was; after it, it is new. What is left over on either
//! side is removed by the next [`cleanup`](Sysroot::cleanup).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use treeferry_core::error::{Error, Result};
use treeferry_core::format::Checksum;

use crate::boot_entry::{BootEntry, Tries, counter_of};
use crate::boot_loaders::{self, Atomicity, BootLoader, Booted, Change};
use crate::boot_space;
use crate::deployment::Deployment;
use crate::files;
use crate::install::{self, EntryContext};
use crate::layout::relative_path;
use crate::load::State;
use crate::menu::{self, Menu, NewEntry};
use crate::names::Turn;
use crate::settings::Settings;
use crate::switch::{BootVersion, Shown, Switch, boot_serials, decide};
use crate::sysroot::Sysroot;

/// What a write changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// What had to change.
    pub switch: Switch,
    /// Whether the change of menus was all that it took.
    pub atomicity: Atomicity,
    /// Which menu and set of links count now.
    pub version: BootVersion,
    /// How many deployments there are more than before.
    pub count_change: i64,
}

/// Everything that a write needs to know, gathered before it begins.
struct Work {
    settings: Settings,
    versions: HashMap<Checksum, String>,
    state: State,
    new: Vec<Deployment>,
}

impl Sysroot {
    /// Makes `new` the deployments that the machine boots, the default first. `state` is what is
    /// deployed now; the sysroot must be locked.
    ///
    /// A staged deployment stays only if it comes first; it is not written to the menu.
    ///
    /// # Errors
    /// Fails before anything is written if the booted deployment is not among them, if one is not
    /// there, or if `/boot` has no room, saying how much is needed and available.
    pub async fn write_deployments(
        &self,
        state: &State,
        new: Vec<Deployment>,
    ) -> Result<Option<Written>> {
        let settings = Settings::load(self.repo()).await?;
        let mut versions = HashMap::new();
        for deployment in state.deployments.iter().chain(&new) {
            let checksum = deployment.id.checksum;
            if let Ok(commit) = self.repo().load_commit(&checksum).await
                && let Some(version) = commit.version()
            {
                versions.insert(checksum, version.to_owned());
            }
        }
        let mut work = Work {
            settings,
            versions,
            state: state.clone(),
            new,
        };
        self.run(move |sysroot| {
            drop_staged(sysroot, &mut work)?;
            write(sysroot, &mut work)
        })
        .await
    }
}

/// Forgets the staged deployment unless it comes first.
fn drop_staged(sysroot: &Sysroot, work: &mut Work) -> Result<()> {
    let staged = work
        .state
        .deployments
        .first()
        .filter(|d| d.is_staged())
        .cloned();
    let kept = match (&staged, work.new.first()) {
        (Some(staged), Some(first)) => first.is_staged() && first.id == staged.id,
        _ => false,
    };
    work.new.retain(|d| !d.is_staged());
    work.state.deployments.retain(|d| !d.is_staged());
    if let (Some(staged), false) = (staged, kept) {
        crate::staging::forget(sysroot)?;
        crate::cleanup::remove_deployment(sysroot, &staged.id)?;
        sysroot.touch()?;
    }
    Ok(())
}

fn write(sysroot: &Sysroot, work: &mut Work) -> Result<Option<Written>> {
    check(sysroot, work)?;
    let csums: Vec<_> = work.new.iter().map(|d| d.bootcsum).collect();
    for (deployment, serial) in work.new.iter_mut().zip(boot_serials(&csums)) {
        deployment.boot_serial = serial;
    }
    let shown = |deployments: &[Deployment], tries: fn(&Deployment, &Settings) -> Option<Tries>| {
        let one = |d: &Deployment| Shown {
            id: d.id.clone(),
            bootcsum: d.bootcsum,
            overlay_initrds: d.overlay_initrds.clone(),
            args: d.entry.args().without_ostree(),
            version: work.versions.get(&d.id.checksum).cloned(),
            tries: tries(d, &work.settings),
        };
        deployments.iter().map(one).collect::<Vec<_>>()
    };
    let old = shown(&work.state.deployments, |d, _| d.entry.name.as_ref()?.tries);
    let new = shown(&work.new, |d, settings| {
        counter_of(d.entry.name.as_ref(), settings.boot_tries)
    });
    let switch = decide(&old, &new);
    tracing::info!(?switch, "step: changing the boot menu");
    let (version, atomicity) = match switch {
        Switch::Nothing => return Ok(None),
        Switch::Links => (switch_links(sysroot, work)?, Atomicity::Atomic),
        Switch::Loader => switch_loader(sysroot, work)?,
    };
    sysroot.touch()?;
    tracing::info!(menu = %version.loader, links = %version.links, "step: the boot menu is changed");
    let count = |deployments: &[Deployment]| i64::try_from(deployments.len()).unwrap_or(i64::MAX);
    Ok(Some(Written {
        switch,
        atomicity,
        version,
        count_change: count(&work.new) - count(&work.state.deployments),
    }))
}

fn check(sysroot: &Sysroot, work: &Work) -> Result<()> {
    for deployment in &work.new {
        let dir = sysroot.layout().deployment(&deployment.id);
        if files::look(&dir)?.is_none() {
            return Err(Error::missing("Unable to find expected deployment root").about(dir));
        }
    }
    let kept = |booted: &Deployment| work.new.iter().any(|d| d.id == booted.id);
    let booted = work
        .state
        .deployments
        .iter()
        .find(|d| is_booted(sysroot, d));
    if booted.is_some_and(|booted| !kept(booted)) {
        return Err(Error::invalid("Attempting to remove booted deployment"));
    }
    Ok(())
}

fn is_booted(sysroot: &Sysroot, deployment: &Deployment) -> bool {
    let Some(root) = sysroot.options().running.root else {
        return false;
    };
    let meta = files::look(&sysroot.layout().deployment(&deployment.id));
    meta.is_ok_and(|meta| meta.is_some_and(|meta| crate::load::same_inode(&meta, root)))
}

/// Makes a new set of links for the menu that counts, and exchanges them.
fn switch_links(sysroot: &Sysroot, work: &Work) -> Result<BootVersion> {
    let version = BootVersion {
        loader: work.state.version.loader,
        links: work.state.version.links.other(),
    };
    make_links(sysroot, version, &work.new)?;
    sync_all(sysroot)?;
    exchange_links(sysroot, version)?;
    Ok(version)
}

/// Writes a new menu with links of its own, and changes to it.
fn switch_loader(sysroot: &Sysroot, work: &Work) -> Result<(BootVersion, Atomicity)> {
    boot_space::make_room(sysroot, &work.state, &work.new, |common| {
        shrink(sysroot, work, common)
    })?;
    // Making room may have changed to another menu.
    let current = menu::find_to_change(sysroot)?;
    menu::settle(sysroot, current)?;
    let next = current.next();
    let loader = next.turn();
    let links = files::read_link(&sysroot.layout().links(loader))?;
    let links = links.and_then(|target| Turn::parse(target.to_str()?.rsplit('.').next()?));
    let version = BootVersion {
        loader,
        links: links.unwrap_or_default().other(),
    };
    let entries = install_all(sysroot, work, next, version)?;
    make_links(sysroot, version, &work.new)?;
    exchange_links(sysroot, version)?;
    let atomicity = change_menu(sysroot, work, current, next, &entries)?;
    Ok((version, atomicity))
}

/// Changes to a menu of those deployments that are there and stay, so that the others' files can go.
fn shrink(sysroot: &Sysroot, work: &Work, common: Vec<Deployment>) -> Result<()> {
    let mut work = Work {
        settings: work.settings.clone(),
        versions: work.versions.clone(),
        state: work.state.clone(),
        new: common,
    };
    let csums: Vec<_> = work.new.iter().map(|d| d.bootcsum).collect();
    for (deployment, serial) in work.new.iter_mut().zip(boot_serials(&csums)) {
        deployment.boot_serial = serial;
    }
    let current = menu::find_to_change(sysroot)?;
    let next = current.next();
    let loader = next.turn();
    let version = BootVersion {
        loader,
        links: Turn::One,
    };
    let entries = install_all(sysroot, &work, next, version)?;
    make_links(sysroot, version, &work.new)?;
    exchange_links(sysroot, version)?;
    change_menu(sysroot, &work, current, next, &entries)?;
    let state = sysroot.load_blocking()?;
    crate::cleanup::clean_boot(sysroot, &state)
}

fn install_all(
    sysroot: &Sysroot,
    work: &Work,
    next: Menu,
    version: BootVersion,
) -> Result<Vec<BootEntry>> {
    let several = work
        .new
        .windows(2)
        .any(|pair| pair[0].id.stateroot != pair[1].id.stateroot);
    let mut new = Vec::new();
    for (index, deployment) in work.new.iter().enumerate() {
        let context = EntryContext {
            index,
            rank: next.version_base() + (work.new.len() - index) as u64,
            links: version.loader,
            several_stateroots: several,
            version: work
                .versions
                .get(&deployment.id.checksum)
                .map(String::as_str),
            settings: &work.settings,
        };
        new.push(NewEntry {
            stateroot: deployment.id.stateroot.clone(),
            entry: install::install(sysroot, deployment, &context)?,
            tries: work.settings.boot_tries,
        });
    }
    menu::write(sysroot, next, &new)?;
    Ok(new.into_iter().map(|new| new.entry).collect())
}

fn change_menu(
    sysroot: &Sysroot,
    work: &Work,
    current: Menu,
    next: Menu,
    entries: &[BootEntry],
) -> Result<Atomicity> {
    let options = sysroot.options();
    let loader = work
        .settings
        .boot_loader
        .choose(sysroot.layout(), &options.grub)?;
    let (old_dir, new_dir) = (current.dir(sysroot), next.dir(sysroot));
    let default = work
        .new
        .first()
        .map(|d| PathBuf::from(relative_path(&d.id)));
    let change = Change {
        layout: sysroot.layout(),
        old_dir: &old_dir,
        new_dir: &new_dir,
        entries,
        paths: work.settings.entry_paths,
        default_deployment: default.as_deref(),
        booted: match options.running.root {
            Some(_) => Booted::Yes,
            None => Booted::No,
        },
    };
    let programs = &*options.host.programs;
    let context = |loader: &dyn BootLoader| format!("Bootloader write config: {}", loader.name());
    let renamed = matches!(next, Menu::Renamed(_));
    if let Some(loader) = loader.as_deref().filter(|_| !renamed) {
        let steps = loader.before(&change)?;
        boot_loaders::carry_out(&steps, programs).map_err(|e| e.context(context(loader)))?;
    }
    menu::prepare(sysroot, next)?;
    sync_all(sysroot)?;
    menu::switch(sysroot, next)?;
    let boot = sysroot.layout().boot();
    options.host.boot_sync.sync_boot(&boot)?;
    let Some(loader) = loader else {
        return Ok(Atomicity::Steps);
    };
    // Where no link exchanges them with the menu, other files follow it: until they have, both
    // generations can be booted.
    if renamed {
        boot_loaders::carry_out(&loader.before(&change)?, programs)
            .map_err(|e| e.context(context(&*loader)))?;
    }
    let steps = loader.after(&change)?;
    boot_loaders::carry_out(&steps, programs).map_err(|e| e.context(context(&*loader)))?;
    if renamed || !steps.is_empty() {
        options.host.boot_sync.sync_boot(&boot)?;
    }
    loader.atomicity(sysroot.layout())
}

/// Makes everything that was written durable: repository and deployments first, then `/boot`.
fn sync_all(sysroot: &Sysroot) -> Result<()> {
    let sync = &sysroot.options().host.boot_sync;
    sync.sync_deployments(&sysroot.layout().repo())?;
    let boot = sysroot.layout().boot();
    files::make_dirs(&boot, 0o755)?;
    sync.sync_boot(&boot)
}

fn make_links(sysroot: &Sysroot, version: BootVersion, deployments: &[Deployment]) -> Result<()> {
    let set = sysroot.layout().link_set(version);
    files::remove_all(&set)?;
    files::make_dirs(&set, 0o755)?;
    for deployment in deployments {
        let bootcsum = deployment.bootcsum.ok_or_else(|| {
            Error::invalid(format!(
                "{}: it is not known what it boots from",
                deployment.id
            ))
        })?;
        let dir = set
            .join(deployment.id.stateroot.as_str())
            .join(bootcsum.to_string());
        files::make_dirs(&dir, 0o755)?;
        let stateroot = &deployment.id.stateroot;
        let target = format!(
            "../../../deploy/{stateroot}/deploy/{}",
            deployment.id.dir_name()
        );
        files::replace_link(target, &dir.join(deployment.boot_serial.to_string()))?;
    }
    Ok(())
}

fn exchange_links(sysroot: &Sysroot, version: BootVersion) -> Result<()> {
    let BootVersion { loader, links } = version;
    let path = sysroot.layout().links(loader);
    files::replace_link(format!("boot.{loader}.{links}"), &path)?;
    files::sync(path.parent().unwrap_or(Path::new(".")))
}
