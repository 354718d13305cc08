//! What a file object looks like on disk: owner, mode, attributes and time, in each mode.

use std::fs::File;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid};
use treeferry_core::error::{Error, Result};
use treeferry_core::format::{DirMeta, FileHeader};

use crate::mode::FsMode;
use crate::shelf::{Node, USER_META};
use crate::staging::{Pending, Staging};

/// Permission bits that the files of a user may have. Nobody else's to write, nor set-id.
const USER_MODE_BITS: u32 = 0o775;
/// The mode of all files that are not content as it is.
const PLAIN: Mode = Mode::from_raw_mode(0o644);

/// Refuses what a mode cannot give back as it was.
pub(crate) fn check_storable(mode: FsMode, header: &FileHeader) -> Result<()> {
    if mode != FsMode::BareUserOnly {
        return Ok(());
    }
    let bits = header.mode & 0o7777 & !USER_MODE_BITS;
    let problem = if !header.is_symlink() && bits != 0 {
        format!("its mode {:#o} has the bits {bits:#o}", header.mode)
    } else if header.is_symlink() && header.mode & 0o777 != 0o777 {
        "it is a symbolic link with a mode other than 0777".into()
    } else if (header.uid, header.gid) != (0, 0) {
        format!("its owner is {}:{}", header.uid, header.gid)
    } else if !header.xattrs.is_empty() {
        "it has extended attributes".into()
    } else {
        return Ok(());
    };
    Err(Error::unsupported(format!(
        "cannot be kept in a repository of mode bare-user-only, for {problem}: record the tree \
         with canonical permissions, or use mode bare-user"
    )))
}

/// Returns whether symbolic links are kept as such, not as files.
pub(crate) fn keeps_symlinks(mode: FsMode) -> bool {
    matches!(
        mode,
        FsMode::Bare | FsMode::BareUserOnly | FsMode::BareSplitXattrs
    )
}

/// Gives a content file the owner, mode, attributes and time that its object has in `mode`.
pub(crate) fn dress(mode: FsMode, file: &File, header: &FileHeader) -> Result<()> {
    match mode {
        FsMode::Bare | FsMode::BareSplitXattrs => {
            let owner = owner_of(header);
            rustix::fs::fchown(file, Some(owner.0), Some(owner.1))
                .map_err(|e| io("its owner cannot be set (it takes root)", e))?;
            set_mode(file, header.mode & 0o7777)?;
            if mode == FsMode::Bare {
                for (name, value) in header.xattrs.iter() {
                    Node::File(file).set(name, value)?;
                }
            }
        }
        FsMode::BareUser => {
            Node::File(file).set(USER_META.as_bytes(), &user_meta(header))?;
            let bits = match header.is_symlink() {
                true => 0o644,
                // The user must be able to read it whatever the tree says.
                false => (header.mode | 0o400) & USER_MODE_BITS,
            };
            set_mode(file, bits)?;
        }
        FsMode::BareUserOnly => set_mode(file, header.mode & USER_MODE_BITS)?,
        FsMode::Archive => return set_mode(file, PLAIN.as_raw_mode()),
    }
    zero_time(file)
}

/// Removes what a file that is taken over has and its object has not.
pub(crate) fn strip(file: &File) -> Result<()> {
    for name in Node::File(file).list()? {
        rustix::fs::fremovexattr(file, name.as_c_str())
            .map_err(|e| io("an extended attribute cannot be removed", e))?;
    }
    Ok(())
}

fn user_meta(header: &FileHeader) -> Vec<u8> {
    let meta = DirMeta {
        uid: header.uid,
        gid: header.gid,
        mode: header.mode,
        xattrs: header.xattrs.clone(),
    };
    meta.to_bytes()
}

fn owner_of(header: &FileHeader) -> (Uid, Gid) {
    (Uid::from_raw(header.uid), Gid::from_raw(header.gid))
}

/// Makes a symbolic link that is to become an object.
pub(crate) fn make_symlink<'a>(
    staging: &'a Staging,
    mode: FsMode,
    header: &FileHeader,
) -> Result<Pending<'a>> {
    let dir = staging.shelf.fd();
    let name = staging.pending_name();
    rustix::fs::symlinkat(&*header.symlink_target, dir, &name)
        .map_err(|e| io("its symbolic link cannot be made", e))?;
    let pending = staging.adopt_pending(Some(name.clone()), None);
    if mode != FsMode::BareUserOnly {
        dress_symlink(mode, dir, &name, header)?;
    }
    Ok(pending)
}

fn dress_symlink(mode: FsMode, dir: BorrowedFd<'_>, name: &str, header: &FileHeader) -> Result<()> {
    let (uid, gid) = owner_of(header);
    rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| io("its owner cannot be set (it takes root)", e))?;
    if mode == FsMode::Bare {
        for (attribute, value) in header.xattrs.iter() {
            Node::Path(dir, name).set(attribute, value)?;
        }
    }
    Ok(())
}

pub(crate) fn set_mode(file: &File, bits: u32) -> Result<()> {
    let mode = Mode::from_raw_mode(bits);
    rustix::fs::fchmod(file, mode).map_err(|e| io("its mode cannot be set", e))
}

/// Sets the time that all content has, so that hard links into checkouts look alike.
pub(crate) fn zero_time(file: &File) -> Result<()> {
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
    };
    rustix::fs::futimens(file, &times).map_err(|e| io("its time cannot be set", e))
}

pub(crate) fn io(problem: &'static str, errno: rustix::io::Errno) -> Error {
    Error::io(problem, errno)
}
