//! The boot menu on disk, and the moment at which it changes.
//!
//! Usually `boot/loader` is a symbolic link to `loader.0` or `loader.1`; a new menu is written to the
//! other one, and renaming the link is the change.
//!
//! FAT has no symbolic links. There, `boot/loader` is a directory, and a menu is a *generation* of
//! entries, `ostree-GENERATION-RANK.conf`, whose versions are higher than those of the generation
//! before, so that boot loaders prefer them. New entries are written as `….conf.new`, which no boot
//! loader reads; renaming the one with the highest rank, the default, is the change. Then the others
//! are renamed, and the old ones removed: until that is done both generations can be booted, and
//! whoever comes next completes it.

use std::path::{Path, PathBuf};

use treeferry_core::error::{Error, Result};

use crate::boot_entry::{BootEntry, EntryName, counter_of};
use crate::files;
use crate::names::{Stateroot, Turn};
use crate::sysroot::{BootLinks, Sysroot};

/// How many entries a generation has room for.
const RANKS: u64 = 1000;
/// Says in an entry how many its generation has.
const COUNT_KEY: &str = "x-treeferry-count";
/// What `statfs` says of FAT.
const MSDOS_MAGIC: i64 = 0x4d44;

/// The menu that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Menu {
    /// `boot/loader` leads to this turn.
    Linked(Turn),
    /// `boot/loader` is a directory, and this generation counts; 0 when there is none.
    Renamed(u32),
}

/// An entry to write.
#[derive(Debug, Clone)]
pub(crate) struct NewEntry {
    pub(crate) stateroot: Stateroot,
    pub(crate) entry: BootEntry,
    pub(crate) tries: Option<u32>,
}

impl Menu {
    /// Returns the turn of the links that it names.
    pub(crate) fn turn(self) -> Turn {
        match self {
            Self::Linked(turn) => turn,
            Self::Renamed(generation) if generation % 2 == 0 => Turn::Zero,
            Self::Renamed(_) => Turn::One,
        }
    }

    /// Returns the menu after this one.
    pub(crate) fn next(self) -> Self {
        match self {
            Self::Linked(turn) => Self::Linked(turn.other()),
            Self::Renamed(generation) => Self::Renamed(generation + 1),
        }
    }

    /// Returns its directory, in which boot loaders have their configuration too.
    pub(crate) fn dir(self, sysroot: &Sysroot) -> PathBuf {
        match self {
            Self::Linked(turn) => sysroot.layout().loader(turn),
            Self::Renamed(_) => sysroot.layout().boot().join("loader"),
        }
    }

    /// Returns what its entries' versions count from.
    pub(crate) fn version_base(self) -> u64 {
        match self {
            Self::Linked(_) => 0,
            Self::Renamed(generation) => u64::from(generation) * RANKS,
        }
    }
}

/// Finds the menu that counts.
pub(crate) fn find(sysroot: &Sysroot) -> Result<Menu> {
    let boot = sysroot.layout().boot();
    let loader = boot.join("loader");
    let Some(meta) = files::look(&loader)? else {
        let fat = sysroot.options().boot_links == BootLinks::None || is_fat(&boot)?;
        return Ok(if fat {
            Menu::Renamed(0)
        } else {
            Menu::Linked(Turn::Zero)
        });
    };
    if meta.is_dir() {
        let generation = current_generation(&loader.join("entries"))?;
        return Ok(Menu::Renamed(generation));
    }
    let target = files::read_link(&loader)?.unwrap_or_default();
    let turn = target
        .to_str()
        .and_then(|t| Turn::parse(t.strip_prefix("loader.")?));
    turn.map(Menu::Linked).ok_or_else(|| {
        let problem = format!("leads to {}, not to loader.0 or loader.1", target.display());
        Error::corrupt(problem).about(loader)
    })
}

fn is_fat(boot: &Path) -> Result<bool> {
    if files::look(boot)?.is_none() {
        return Ok(false);
    }
    let stat = rustix::fs::statfs(boot)
        .map_err(|e| files::failed(boot, "its filesystem cannot be looked at")(e.into()))?;
    #[allow(clippy::unnecessary_cast, reason = "32 bits on some machines")]
    let kind = stat.f_type as i64;
    Ok(kind == MSDOS_MAGIC)
}

/// Finds the menu that counts, to change it: whether a `/boot` that has none yet can have symbolic
/// links is tried, for filesystems do not say.
pub(crate) fn find_to_change(sysroot: &Sysroot) -> Result<Menu> {
    let menu = find(sysroot)?;
    let boot = sysroot.layout().boot();
    if menu != Menu::Linked(Turn::Zero) || files::look(&boot.join("loader"))?.is_some() {
        return Ok(menu);
    }
    match std::os::unix::fs::symlink(".", boot.join("boot")) {
        Ok(()) => Ok(menu),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(menu),
        Err(_) => Ok(Menu::Renamed(0)),
    }
}

/// A file of a generation.
struct Found {
    path: PathBuf,
    generation: u32,
    rank: u32,
    name: EntryName,
    new: bool,
}

fn found(dir: &Path) -> Result<Vec<Found>> {
    let mut all = Vec::new();
    for name in files::names(dir)? {
        let text = name.to_string_lossy();
        let (text, new) = match text.strip_suffix(".new") {
            Some(text) => (text, true),
            None => (&*text, false),
        };
        let Some(entry) = EntryName::parse(text) else {
            continue;
        };
        let numbers = entry.stem.split_once('-');
        let numbers = numbers.and_then(|(g, r)| Some((g.parse().ok()?, r.parse().ok()?)));
        let Some((generation, rank)) = numbers else {
            continue;
        };
        all.push(Found {
            path: dir.join(&name),
            generation,
            rank,
            name: entry,
            new,
        });
    }
    Ok(all)
}

fn read_entry(path: &Path, name: EntryName) -> Result<BootEntry> {
    let text = files::read_text(path)?.unwrap_or_default();
    let mut entry = BootEntry::parse(&text);
    entry.name = Some(name);
    Ok(entry)
}

/// Returns the highest generation whose default entry is in place.
fn current_generation(entries: &Path) -> Result<u32> {
    let mut current = 0;
    for Found {
        path,
        generation,
        rank,
        name,
        new,
    } in found(entries)?
    {
        if !new && generation > current {
            let entry = read_entry(&path, name)?;
            if entry.get(COUNT_KEY) == Some(rank.to_string().as_str()) {
                current = generation;
            }
        }
    }
    Ok(current)
}

/// Returns the entries of a menu that are OSTree's.
pub(crate) fn read_entries(sysroot: &Sysroot, menu: &Menu) -> Result<Vec<BootEntry>> {
    let dir = menu.dir(sysroot).join("entries");
    let mut entries = Vec::new();
    match menu {
        Menu::Linked(_) => {
            for name in files::names(&dir)? {
                if let Some(parsed) = EntryName::parse(&name.to_string_lossy()) {
                    entries.push(read_entry(&dir.join(&name), parsed)?);
                }
            }
        }
        Menu::Renamed(current) => {
            for file in found(&dir)? {
                if file.generation == *current {
                    entries.push(read_entry(&file.path, file.name)?);
                }
            }
        }
    }
    entries.sort_by_key(|e| std::cmp::Reverse(e.sort_key()));
    Ok(entries)
}

/// Writes a menu that does not count yet. The first of `entries` is to be the default.
pub(crate) fn write(sysroot: &Sysroot, menu: Menu, entries: &[NewEntry]) -> Result<()> {
    let dir = menu.dir(sysroot).join("entries");
    if matches!(menu, Menu::Linked(_)) {
        files::remove_all(&dir)?;
    }
    files::make_dirs(&dir, 0o755)?;
    for (index, new) in entries.iter().enumerate() {
        let rank = u32::try_from(entries.len() - index).unwrap_or(u32::MAX);
        let mut name = EntryName::new(sysroot.options().naming, rank, &new.stateroot);
        name.tries = counter_of(new.entry.name.as_ref(), new.tries);
        let mut entry = new.entry.clone();
        let path = match menu {
            Menu::Linked(_) => dir.join(name.to_string()),
            Menu::Renamed(generation) => {
                entry.set(COUNT_KEY, &entries.len().to_string());
                name.stem = format!("{generation}-{rank}");
                dir.join(format!("{name}.new"))
            }
        };
        files::replace(&path, entry.to_string().as_bytes(), 0o644)?;
    }
    files::sync(&dir)
}

/// Makes everything ready for the change, so that it is a single rename.
pub(crate) fn prepare(sysroot: &Sysroot, menu: Menu) -> Result<()> {
    let boot = sysroot.layout().boot();
    let Menu::Linked(turn) = menu else {
        return Ok(());
    };
    // Paths in entries count from the filesystem of /boot, which may be that of / as well.
    if files::look(&boot.join("boot"))?.is_none() {
        files::replace_link(".", &boot.join("boot"))?;
    }
    files::replace_link(format!("loader.{turn}"), &boot.join("loader.tmp"))
}

/// Changes to a menu that was written and synced.
pub(crate) fn switch(sysroot: &Sysroot, menu: Menu) -> Result<()> {
    let boot = sysroot.layout().boot();
    match menu {
        Menu::Linked(_) => {
            let (from, to) = (boot.join("loader.tmp"), boot.join("loader"));
            std::fs::rename(&from, &to).map_err(files::failed(&to, "cannot be exchanged"))?;
        }
        Menu::Renamed(generation) => {
            let all = found(&boot.join("loader/entries"))?;
            let ours = all.iter().filter(|f| f.generation == generation && f.new);
            if let Some(default) = ours.max_by_key(|f| f.rank) {
                put_in_place(default)?;
            }
            files::sync(&boot.join("loader/entries"))?;
        }
    }
    files::sync(&boot)
}

fn put_in_place(file: &Found) -> Result<()> {
    let to = file.path.with_file_name(file.name.to_string());
    std::fs::rename(&file.path, &to).map_err(files::failed(&to, "cannot be put in place"))
}

/// Completes a change, and removes what belongs to no menu that counts. Where the menu is linked,
/// the other turn's goes.
pub(crate) fn settle(sysroot: &Sysroot, menu: Menu) -> Result<()> {
    match menu {
        Menu::Linked(turn) => {
            files::remove_all(&sysroot.layout().loader(turn.other()))?;
            files::remove_file(&sysroot.layout().boot().join("loader.tmp"))
        }
        Menu::Renamed(current) => {
            let dir = menu.dir(sysroot).join("entries");
            for file in found(&dir)? {
                match file.generation == current {
                    true if file.new => put_in_place(&file)?,
                    true => {}
                    false => files::remove_file(&file.path)?,
                }
            }
            match files::look(&dir)? {
                Some(_) => files::sync(&dir),
                None => Ok(()),
            }
        }
    }
}

/// Gives the file of an entry another counter, or none.
pub(crate) fn rename_entry(
    sysroot: &Sysroot,
    menu: Menu,
    from: &EntryName,
    to: &EntryName,
) -> Result<()> {
    let dir = menu.dir(sysroot).join("entries");
    let (from, to) = (dir.join(from.to_string()), dir.join(to.to_string()));
    std::fs::rename(&from, &to).map_err(files::failed(&from, "cannot be renamed"))?;
    files::sync(&dir)
}
