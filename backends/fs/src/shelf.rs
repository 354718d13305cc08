//! A directory of objects, `XX/REST.EXT`: `objects/`, or a staging directory.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::FileType;
use rustix::io::Errno;
use treeferry_core::error::{Error, Result};
use treeferry_core::format::{
    Checksum, DirMeta, FileHeader, METADATA_BYTES_MAX, ObjectName, ObjectType, Xattrs,
    read_header_frame,
};
use treeferry_core::store::{
    Encoding, LocalContent, LocalFile, LocalObject, Stat, Takeover, Trust,
};

use crate::layout::{object_path, xattrs_link_path};
use crate::mode::FsMode;
use crate::sys::{self, failed};

/// The extended attribute of mode `bare-user`.
pub(crate) const USER_META: &str = "user.ostreemeta";
/// The longest value of an extended attribute in Linux, bytes.
const XATTR_BYTES_MAX: usize = 64 * 1024;
/// The longest target of a symbolic link in Linux, bytes.
const TARGET_BYTES_MAX: u64 = 4096;

/// A directory of objects. All of it is blocking.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    pub(crate) dir: Arc<OwnedFd>,
    pub(crate) mode: FsMode,
}

impl Shelf {
    pub(crate) fn new(dir: Arc<OwnedFd>, mode: FsMode) -> Self {
        Self { dir, mode }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Looks one object up, without opening it.
    pub(crate) fn stat(&self, name: &ObjectName) -> Result<Option<Stat>> {
        let path = object_path(name, self.mode);
        let Some(stat) = sys::stat(self.fd(), &path)? else {
            return Ok(None);
        };
        let is_file = name.object_type == ObjectType::File;
        // The link is made before the file gets its name: without it the file is somebody's
        // unfinished work.
        if is_file
            && self.mode == FsMode::BareSplitXattrs
            && sys::stat(self.fd(), &xattrs_link_path(&name.checksum))?.is_none()
        {
            return Ok(None);
        }
        let stored_bytes = sys::length(&stat);
        // No metadata is empty, but for attributes of which there are none; nor is a `.filez`.
        let may_be_empty = match name.object_type {
            ObjectType::File => self.mode != FsMode::Archive,
            ObjectType::FileXattrs => true,
            _ => false,
        };
        let trust = match stored_bytes {
            0 if !may_be_empty => Trust::Unread,
            _ => Trust::Whole,
        };
        let encoding = match self.mode {
            FsMode::Archive if is_file => Encoding::Filez,
            _ => Encoding::Canonical,
        };
        Ok(Some(Stat {
            encoding,
            stored_bytes,
            trust,
        }))
    }

    /// Reads the bytes of a metadata object.
    pub(crate) fn read_metadata(&self, name: &ObjectName) -> Result<Option<Bytes>> {
        let path = object_path(name, self.mode);
        sys::read_file(self.fd(), &path, METADATA_BYTES_MAX)
    }

    /// Names the file that a metadata object is, if it is there.
    pub(crate) fn metadata_file(&self, name: &ObjectName) -> Result<Option<LocalFile>> {
        let path = object_path(name, self.mode);
        match sys::stat(self.fd(), &path)? {
            Some(_) => self.local_file(path).map(Some),
            None => Ok(None),
        }
    }

    /// Opens a file object: reads its header, and names where its content is.
    pub(crate) fn open(&self, checksum: &Checksum) -> Result<Option<LocalObject>> {
        let opened = match self.mode {
            FsMode::Bare | FsMode::BareUserOnly | FsMode::BareSplitXattrs => {
                self.open_plain(checksum)
            }
            FsMode::BareUser => self.open_user(checksum),
            FsMode::Archive => self.open_filez(checksum),
        };
        opened.map_err(|e| e.about(ObjectName::file(*checksum)))
    }

    fn local_file(&self, path: String) -> Result<LocalFile> {
        let path = CString::new(path).map_err(|_| Error::invalid("a path holds a NUL byte"))?;
        let takeover = match self.mode {
            // Without its extended attributes a file is not what was committed.
            FsMode::BareSplitXattrs => Takeover::Reflink,
            mode => Takeover::Link(mode.link_view()),
        };
        Ok(LocalFile::new(Arc::clone(&self.dir), path, takeover))
    }

    fn open_plain(&self, checksum: &Checksum) -> Result<Option<LocalObject>> {
        let path = object_path(&ObjectName::file(*checksum), self.mode);
        let Some(stat) = sys::stat(self.fd(), &path)? else {
            return Ok(None);
        };
        let symlink_target = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => read_target(self.fd(), &path)?,
            FileType::RegularFile => Box::default(),
            _ => {
                return Err(Error::corrupt(
                    "is neither a regular file nor a symbolic link",
                ));
            }
        };
        let is_symlink = !symlink_target.is_empty();
        let xattrs = match self.mode {
            FsMode::BareUserOnly => Xattrs::default(),
            FsMode::BareSplitXattrs => match self.read_xattrs_link(checksum)? {
                Some(xattrs) => xattrs,
                None => return Ok(None),
            },
            _ if is_symlink => read_xattrs(&Node::Path(self.fd(), &path))?,
            _ => match sys::open_file(self.fd(), &path)? {
                Some(file) => read_xattrs(&Node::File(&file))?,
                None => return Ok(None),
            },
        };
        let (uid, gid) = match self.mode {
            FsMode::BareUserOnly => (0, 0),
            _ => (stat.st_uid, stat.st_gid),
        };
        let header = FileHeader {
            uid,
            gid,
            mode: stat.st_mode,
            symlink_target,
            xattrs,
        };
        self.found(header, sys::length(&stat), path).map(Some)
    }

    fn found(&self, header: FileHeader, length: u64, path: String) -> Result<LocalObject> {
        let (content_bytes, content) = match header.is_symlink() {
            true => (0, LocalContent::None),
            false => (length, LocalContent::Plain(self.local_file(path)?)),
        };
        Ok(LocalObject {
            header,
            content_bytes,
            content,
        })
    }

    fn open_user(&self, checksum: &Checksum) -> Result<Option<LocalObject>> {
        let path = object_path(&ObjectName::file(*checksum), self.mode);
        let Some(file) = sys::open_file(self.fd(), &path)? else {
            return Ok(None);
        };
        let stat = rustix::fs::fstat(&file).map_err(failed(&path, "cannot be looked at"))?;
        let meta = Node::File(&file).get(USER_META)?;
        let meta = meta.ok_or_else(|| {
            Error::corrupt("has lost its extended attribute user.ostreemeta, which holds its owner")
        })?;
        let meta = DirMeta::parse_any_mode(&meta)?;
        let symlink_target = match FileType::from_raw_mode(meta.mode) {
            FileType::Symlink => target_from_content(file)?,
            _ => Box::default(),
        };
        let header = FileHeader {
            uid: meta.uid,
            gid: meta.gid,
            mode: meta.mode,
            symlink_target,
            xattrs: meta.xattrs,
        };
        self.found(header, sys::length(&stat), path).map(Some)
    }

    fn open_filez(&self, checksum: &Checksum) -> Result<Option<LocalObject>> {
        let path = object_path(&ObjectName::file(*checksum), self.mode);
        let Some(mut file) = sys::open_file(self.fd(), &path)? else {
            return Ok(None);
        };
        let frame = read_header_frame(&mut file)?;
        let (header, content_bytes) = FileHeader::parse_filez(&frame)?;
        Ok(Some(LocalObject {
            header,
            content_bytes,
            content: LocalContent::Filez(self.local_file(path)?),
        }))
    }

    fn read_xattrs_link(&self, checksum: &Checksum) -> Result<Option<Xattrs>> {
        let path = xattrs_link_path(checksum);
        match sys::read_file(self.fd(), &path, METADATA_BYTES_MAX)? {
            Some(bytes) => Ok(Some(Xattrs::parse(&bytes)?)),
            None => Ok(None),
        }
    }
}

fn read_target(dir: BorrowedFd<'_>, path: &str) -> Result<Box<str>> {
    let target = rustix::fs::readlinkat(dir, path, Vec::new())
        .map_err(failed(path, "cannot be read as a symbolic link"))?;
    let target = target.into_string();
    let target = target.map_err(|_| Error::corrupt("its target is not UTF-8"))?;
    Ok(target.into())
}

/// Reads a target that is kept as content: OSTree writes it with a final NUL.
fn target_from_content(file: File) -> Result<Box<str>> {
    let mut target = Vec::new();
    file.take(TARGET_BYTES_MAX + 1)
        .read_to_end(&mut target)
        .map_err(|e| Error::io("cannot be read", e))?;
    if target.last() == Some(&0) {
        target.pop();
    }
    if target.is_empty() || target.contains(&0) || target.len() as u64 > TARGET_BYTES_MAX {
        return Err(Error::corrupt(
            "its content is not the target of a symbolic link",
        ));
    }
    let target = String::from_utf8(target);
    let target = target.map_err(|_| Error::corrupt("its target is not UTF-8"))?;
    Ok(target.into())
}

/// Something that has extended attributes.
pub(crate) enum Node<'a> {
    File(&'a File),
    /// A symbolic link: there is no descriptor of one that attributes could be read from.
    Path(BorrowedFd<'a>, &'a str),
}

impl Node<'_> {
    fn proc_path(dir: BorrowedFd<'_>, path: &str) -> String {
        format!("/proc/self/fd/{}/{path}", dir.as_raw_fd())
    }

    /// Returns the names of all attributes.
    pub(crate) fn list(&self) -> Result<Vec<CString>> {
        let mut names = vec![0_u8; 256];
        let len = loop {
            let listed = match self {
                Self::File(file) => rustix::fs::flistxattr(file, &mut names[..]),
                Self::Path(dir, path) => {
                    rustix::fs::llistxattr(Self::proc_path(*dir, path), &mut names[..])
                }
            };
            match listed {
                Ok(len) => break len,
                Err(Errno::RANGE) if names.len() < XATTR_BYTES_MAX => {
                    names.resize(XATTR_BYTES_MAX, 0)
                }
                Err(Errno::NOTSUP) => return Ok(Vec::new()),
                Err(e) => return Err(Error::io("its extended attributes cannot be listed", e)),
            }
        };
        let names = names[..len].split(|b| *b == 0).filter(|n| !n.is_empty());
        Ok(names.filter_map(|name| CString::new(name).ok()).collect())
    }

    /// Returns the value of an attribute.
    pub(crate) fn get(&self, name: impl rustix::path::Arg + Copy) -> Result<Option<Vec<u8>>> {
        let mut value = vec![0_u8; 256];
        loop {
            let got = match self {
                Self::File(file) => rustix::fs::fgetxattr(file, name, &mut value[..]),
                Self::Path(dir, path) => {
                    rustix::fs::lgetxattr(Self::proc_path(*dir, path), name, &mut value[..])
                }
            };
            match got {
                Ok(len) => {
                    value.truncate(len);
                    return Ok(Some(value));
                }
                Err(Errno::RANGE) if value.len() < XATTR_BYTES_MAX => {
                    value.resize(XATTR_BYTES_MAX, 0)
                }
                Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
                Err(e) => return Err(Error::io("an extended attribute cannot be read", e)),
            }
        }
    }

    /// Sets an attribute.
    pub(crate) fn set(&self, name: &[u8], value: &[u8]) -> Result<()> {
        let flags = rustix::fs::XattrFlags::empty();
        let set = match self {
            Self::File(file) => rustix::fs::fsetxattr(file, name, value, flags),
            Self::Path(dir, path) => {
                rustix::fs::lsetxattr(Self::proc_path(*dir, path), name, value, flags)
            }
        };
        set.map_err(|e| {
            let name = String::from_utf8_lossy(name).into_owned();
            Error::io(format!("its extended attribute {name} cannot be set"), e)
        })
    }
}

/// Reads all extended attributes.
pub(crate) fn read_xattrs(node: &Node<'_>) -> Result<Xattrs> {
    let mut attributes = Vec::new();
    for name in node.list()? {
        // One that went away between the two calls is not there.
        if let Some(value) = node.get(name.as_c_str())? {
            attributes.push((name.into_bytes(), value));
        }
    }
    Ok(Xattrs::sorted(attributes))
}

/// Returns an object's path below the repository, for messages.
pub(crate) fn display_path(path: &str) -> std::path::PathBuf {
    Path::new("objects").join(path)
}
