//! What is mounted, and what its filesystem can hold.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use treeferry_core::error::{Error, Result};

/// The longest file on FAT, bytes.
const FAT_FILE_BYTES_MAX: u64 = u32::MAX as u64;

/// Where desktops and administrators mount what is plugged in.
const PLUGGED_IN: [&str; 2] = ["/media", "/run/media"];

/// A mounted filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// The kind of filesystem, as the kernel calls it: `vfat`, `exfat`, `ext4`, `fuse.fusefat`.
    pub filesystem: String,
    /// Its device, as `MAJOR:MINOR`.
    pub device: String,
}

/// How long a file can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileLimit {
    /// As long as there is room.
    None,
    /// So many bytes.
    Bytes(u64),
}

impl Volume {
    /// Returns the volume that `path` is on.
    pub fn of_path(path: &Path) -> Result<Self> {
        let about = |problem, e| Error::io(problem, e).about(path);
        let path = path
            .canonicalize()
            .map_err(|e| about("cannot be found", e))?;
        let mut found: Option<Self> = None;
        for volume in Self::mounted()? {
            // The last one in the same place is on top.
            let closer = found
                .as_ref()
                .is_none_or(|found| volume.mount_point.starts_with(&found.mount_point));
            if path.starts_with(&volume.mount_point) && closer {
                found = Some(volume);
            }
        }
        found.ok_or_else(|| Error::missing("is on no mounted filesystem").about(path))
    }

    /// Returns all that is mounted, in the order of mounting.
    pub fn mounted() -> Result<Vec<Self>> {
        let at = Path::new("/proc/self/mountinfo");
        let text = std::fs::read(at).map_err(|e| Error::io("cannot be read", e).about(at))?;
        Ok(parse_mountinfo(&text))
    }

    /// Returns the volumes that look plugged in: mounted where desktops mount such, or on a
    /// removable device.
    pub fn plugged_in() -> Result<Vec<Self>> {
        let mut found = Self::mounted()?;
        found.retain(|volume| {
            let point = &volume.mount_point;
            let mut places = PLUGGED_IN.iter().map(Path::new);
            places.any(|place| point.starts_with(place) && point != place) || volume.is_removable()
        });
        found.dedup_by(|later, earlier| later.mount_point == earlier.mount_point);
        Ok(found)
    }

    /// Returns how long a file on it can be.
    pub fn file_limit(&self) -> FileLimit {
        let fat = ["vfat", "msdos", "fuse.fusefat", "fuse.umfuse-fat"];
        match fat.contains(&self.filesystem.as_str()) {
            true => FileLimit::Bytes(FAT_FILE_BYTES_MAX),
            false => FileLimit::None,
        }
    }

    fn is_removable(&self) -> bool {
        let device = Path::new("/sys/dev/block").join(&self.device);
        // A partition says it of the disk that it is on.
        [device.join("removable"), device.join("../removable")]
            .iter()
            .any(|file| std::fs::read(file).is_ok_and(|text| text.starts_with(b"1")))
    }
}

fn parse_mountinfo(text: &[u8]) -> Vec<Volume> {
    text.split(|b| *b == b'\n').filter_map(parse_line).collect()
}

/// Reads `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS ... - KIND SOURCE OPTIONS`.
fn parse_line(line: &[u8]) -> Option<Volume> {
    let mut words = line.split(|b| *b == b' ');
    let device = String::from_utf8(words.nth(2)?.to_vec()).ok()?;
    let point = unescape(words.nth(1)?);
    let mut after = words.skip_while(|word| *word != b"-");
    let filesystem = String::from_utf8(after.nth(1)?.to_vec()).ok()?;
    Some(Volume {
        mount_point: OsString::from_vec(point).into(),
        filesystem,
        device,
    })
}

/// Undoes `\040` and the like.
fn unescape(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, after)) = rest.split_first() {
        let octal = (*first == b'\\').then(|| after.get(..3)).flatten();
        let code = octal.and_then(|digits| {
            let text = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(text, 8).ok()
        });
        match code {
            Some(code) => {
                out.push(code);
                rest = &after[3..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_with_their_odd_names() {
        let text = b"22 1 0:39 / /media/a\\040stick rw,nosuid shared:1 - fuse.fusefat fusefat rw\n\
            23 1 8:17 / /mnt rw - vfat /dev/sdb1 rw\nnonsense\n";
        let found = parse_mountinfo(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].mount_point, Path::new("/media/a stick"));
        assert_eq!(found[0].device, "0:39");
        let limit = FileLimit::Bytes(4_294_967_295);
        assert!(found.iter().all(|volume| volume.file_limit() == limit));
    }

    #[test]
    fn the_volume_of_a_path_is_the_closest() {
        let volume = Volume::of_path(Path::new("/proc/self")).unwrap();
        assert_eq!(volume.filesystem, "proc");
        assert_eq!(volume.file_limit(), FileLimit::None);
        assert!(Volume::of_path(Path::new("/no/such/place")).is_err());
    }
}
