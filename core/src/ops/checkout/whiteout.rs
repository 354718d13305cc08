//! Entries that are instructions. **Blocking.**

use std::path::Path;

use rustix::fs::{FileType, Mode};

use super::at;
use super::dir::Opaque;
use super::options::{CheckoutMode, Overwrite, PassthroughWhiteouts, Whiteouts};
use super::place::{Made, Opened, Placed, Placer, Spot, exists};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{DirTree, FileHeader, check_file_name};

const PREFIX: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";
const PASSTHROUGH_PREFIX: &str = ".ostree-wh.";

/// What an entry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whiteout {
    /// To remove what has this name.
    Remove(String),
    /// Nothing more: its directory was emptied when it was begun.
    Opaque,
    /// To make a device of this name.
    Device(String),
}

impl Placer {
    /// Returns what a regular file of that name asks for, if it asks for anything.
    pub(super) fn whiteout(&self, name: &str) -> Option<Whiteout> {
        if self.options.whiteouts == Whiteouts::Process {
            if name == OPAQUE {
                return Some(Whiteout::Opaque);
            }
            if let Some(name) = name.strip_prefix(PREFIX) {
                return Some(Whiteout::Remove(name.to_owned()));
            }
        }
        if self.options.passthrough_whiteouts == PassthroughWhiteouts::Process {
            let name = name.strip_prefix(PASSTHROUGH_PREFIX)?;
            return Some(Whiteout::Device(name.to_owned()));
        }
        None
    }

    /// Returns whether a directory is to be emptied before its entries are put into it.
    pub(super) fn opaque(&self, tree: &DirTree) -> Opaque {
        match self.options.whiteouts {
            Whiteouts::Process if tree.file(OPAQUE).is_some() => Opaque::Yes,
            _ => Opaque::No,
        }
    }

    /// Does what a whiteout asks for.
    pub(super) fn process_whiteout(
        &self,
        spot: &Spot<'_>,
        whiteout: &Whiteout,
        mut object: Opened,
    ) -> Result<Placed> {
        match whiteout {
            Whiteout::Opaque => {}
            Whiteout::Remove(name) => {
                check_whiteout_name(name)?;
                at::remove_all(spot.dir, Path::new(name))?;
            }
            Whiteout::Device(name) => {
                check_whiteout_name(name)?;
                // Owner and mode are believed only if the checksum is right.
                object.verify()?;
                let spot = Spot { name, ..*spot };
                self.make_device(&spot, object.header())?;
            }
        }
        Ok(Placed::Whiteout)
    }

    fn make_device(&self, spot: &Spot<'_>, header: &FileHeader) -> Result<()> {
        // Its own name may have put something there before, also in a directory that we made.
        if let Some(theirs) = at::look_at(spot.dir, spot.name)? {
            match self.options.overwrite {
                _ if spot.made == Made::ByUs => return Err(exists()),
                Overwrite::Refuse => return Err(exists()),
                Overwrite::AddFiles => return Ok(()),
                Overwrite::UnionFiles => at::unlink(spot.dir, spot.name)?,
                Overwrite::UnionIdentical => {
                    // In user mode the caller's mask decides the mode.
                    let same = at::kind(&theirs) == FileType::CharacterDevice
                        && theirs.st_rdev == 0
                        && (self.mode == CheckoutMode::User
                            || theirs.st_mode & 0o7777 == header.mode & 0o7777
                                && (theirs.st_uid, theirs.st_gid) == (header.uid, header.gid)
                                && self.has_xattrs(spot, &header.xattrs)?);
                    let problem = "the whiteout that exists there is not identical";
                    let differs = || Error::new(ErrorKind::Denied, problem);
                    return same.then_some(()).ok_or_else(differs);
                }
            }
        }
        let mode = Mode::from_raw_mode(header.mode & 0o7777);
        rustix::fs::mknodat(spot.dir, spot.name, FileType::CharacterDevice, mode, 0)
            .map_err(|e| Error::io("the device of a whiteout cannot be made", e))?;
        let guard = at::Temp::guard(spot.dir, spot.name.to_owned());
        if self.mode == CheckoutMode::Full {
            let look = self.look(header, spot)?;
            look.apply_at(spot.dir, spot.name)?;
            at::set_device_mode(spot.dir, spot.name, header.mode)?;
        }
        guard.keep();
        Ok(())
    }
}

fn check_whiteout_name(name: &str) -> Result<()> {
    check_file_name(name)
        .map_err(|e| Error::corrupt("asks to remove or hide what no name can be of").because(e))
}
