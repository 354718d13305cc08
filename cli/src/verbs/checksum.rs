//! `checksum`: what a file of this machine would be called as an object.

use std::ffi::CStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::json;
use treeferry_core::format::{Checksum, DirMeta, FileHeader, Hasher, Xattrs};

use crate::failure::{Failure, Result, io_failure};
use crate::{json, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Compute it as if there were no extended attributes
    #[arg(long)]
    ignore_xattrs: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// A file, a symbolic link, or a directory (without what is in it)
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let Some(path) = &args.path else {
        return Err(Failure::usage("A filename must be given"));
    };
    let failed = |e: io::Error| io_failure(path, &e);
    let meta = fs::symlink_metadata(path).map_err(failed)?;
    let xattrs = match args.ignore_xattrs {
        true => Xattrs::default(),
        false => xattrs(path).map_err(failed)?,
    };
    let checksum = match meta.is_dir() {
        true => Checksum::of(&dirmeta(&meta, xattrs).to_bytes()),
        false => file(path, &meta, xattrs)?,
    };
    match args.json {
        true => json::line(&json!({
            "path": path.to_string_lossy(),
            "checksum": checksum.to_string(),
        })),
        false => Ok(output::line(checksum)?),
    }
}

fn dirmeta(meta: &Metadata, xattrs: Xattrs) -> DirMeta {
    DirMeta {
        uid: meta.uid(),
        gid: meta.gid(),
        mode: meta.mode(),
        xattrs,
    }
}

fn file(path: &Path, meta: &Metadata, xattrs: Xattrs) -> Result<Checksum> {
    let failed = |e: io::Error| io_failure(path, &e);
    if !meta.is_file() && !meta.is_symlink() {
        let message = format!(
            "{}: is neither a file, a link nor a directory",
            path.display()
        );
        return Err(Failure::new(message));
    }
    let target = match meta.is_symlink() {
        true => fs::read_link(path).map_err(failed)?,
        false => PathBuf::new(),
    };
    let target = target
        .to_str()
        .ok_or_else(|| Failure::new(format!("{}: its target is not UTF-8", path.display())))?;
    let header = FileHeader {
        uid: meta.uid(),
        gid: meta.gid(),
        mode: meta.mode(),
        symlink_target: target.into(),
        xattrs,
    };
    let mut hasher = Hasher::new();
    hasher.update(&header.to_canonical());
    if meta.is_file() {
        let mut file = File::open(path).map_err(failed)?;
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match file.read(&mut buffer).map_err(failed)? {
                0 => break,
                read => hasher.update(&buffer[..read]),
            }
        }
    }
    Ok(hasher.finish())
}

/// Reads the extended attributes of a file, not following a link; none where there is no such thing.
fn xattrs(path: &Path) -> io::Result<Xattrs> {
    let names = read_all(|buffer| rustix::fs::llistxattr(path, buffer));
    let names = match names {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Vec::new(),
        names => names?,
    };
    let mut attributes = Vec::new();
    for name in names.split_inclusive(|byte| *byte == 0) {
        let Ok(c_name) = CStr::from_bytes_with_nul(name) else {
            continue;
        };
        let value = read_all(|buffer| rustix::fs::lgetxattr(path, c_name, buffer))?;
        attributes.push((c_name.to_bytes().to_vec(), value));
    }
    Ok(Xattrs::sorted(attributes))
}

/// Calls `read` with ever larger buffers until all fits.
fn read_all(read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; 4096];
    loop {
        match read(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(rustix::io::Errno::RANGE) => buffer.resize(buffer.len() * 2, 0),
            Err(error) => return Err(error.into()),
        }
    }
}
