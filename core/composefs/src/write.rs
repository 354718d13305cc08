//! The bytes of an image, one after the other.

use std::io::{self, BufWriter, Write};

use crate::layout::{
    DIRENT_BYTES, Entry, Form, Layout, Place, SLOT, SUPERBLOCK_AT, SUPERBLOCK_BYTES, entries,
    piece_bits, runs,
};
use crate::tree::{Image, Kind};
use crate::verity::{Digest, VerityHasher};
use crate::xattr::{HEADER_BYTES, Xattr};
use crate::{BLOCK, ImageError};

const MAGIC: u32 = 0xD078_629A;
const HEADER_VERSION: u32 = 1;
const HAS_ACL: u32 = 1;
const EROFS_MAGIC: u32 = 0xE0F5_E1E2;
/// Times of modification, and filters of the names of attributes.
const FEATURES: u32 = 0x2 | 0x4;
const BLOCK_BITS: u8 = 12;

const PLAIN: u16 = 0;
const INLINE: u16 = 2;
const PIECES: u16 = 4;

/// A piece of a file that is not in the image.
const NOWHERE: [u8; 4] = [0xFF; 4];

/// Writes what was laid out.
pub(crate) fn write(
    image: &Image,
    layout: &Layout,
    to: &mut dyn Write,
) -> Result<Digest, ImageError> {
    let mut out = Output {
        to: BufWriter::with_capacity(64 << 10, to),
        at: 0,
        hasher: VerityHasher::new(),
    };
    superblock(image, layout, &mut out)?;
    let mut blocks_at = layout.blocks_at / BLOCK;
    for number in &layout.order {
        let place = &layout.places[*number];
        out.pad_to(place.at)?;
        inode(image, *number, place, blocks_at, &mut out)?;
        blocks_at += place.blocks;
        xattrs(image, *number, layout, &mut out)?;
        tail(image, *number, layout, &mut out)?;
    }
    out.pad_to(layout.inodes_end)?;
    for id in &layout.shared.order {
        xattr(image.xattrs.get(*id), &mut out)?;
    }
    out.pad_to(layout.blocks_at)?;
    for number in &layout.order {
        blocks(image, *number, layout, &mut out)?;
    }
    out.to.flush()?;
    Ok(out.hasher.finish())
}

/// Counts and hashes what passes through it.
struct Output<'a> {
    to: BufWriter<&'a mut dyn Write>,
    at: u64,
    hasher: VerityHasher,
}

impl Output<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        self.to.write_all(bytes)
    }

    fn pad_to(&mut self, at: u64) -> io::Result<()> {
        const ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];
        while self.at < at {
            let length = (at - self.at).min(BLOCK);
            self.put(&ZEROS[..length as usize])?;
        }
        Ok(())
    }

    fn align(&mut self, to: u64) -> io::Result<()> {
        self.pad_to(self.at.next_multiple_of(to))
    }
}

/// Takes the low bits of a number that was found to fit.
fn low16(number: u64) -> [u8; 2] {
    (number as u16).to_le_bytes()
}

fn low32(number: u64) -> [u8; 4] {
    (number as u32).to_le_bytes()
}

fn superblock(image: &Image, layout: &Layout, out: &mut Output<'_>) -> io::Result<()> {
    let flags = if image.has_acl { HAS_ACL } else { 0 };
    for number in [MAGIC, HEADER_VERSION, flags, 0] {
        out.put(&number.to_le_bytes())?;
    }
    out.pad_to(SUPERBLOCK_AT)?;
    let mut block = Vec::with_capacity(SUPERBLOCK_BYTES as usize);
    block.extend_from_slice(&EROFS_MAGIC.to_le_bytes());
    block.extend_from_slice(&[0; 4]);
    block.extend_from_slice(&FEATURES.to_le_bytes());
    block.extend_from_slice(&[BLOCK_BITS, 0]);
    block.extend_from_slice(&low16(layout.places[0].number()));
    block.extend_from_slice(&(layout.order.len() as u64).to_le_bytes());
    // The time of all files: 12 bytes.
    block.extend_from_slice(&[0; 12]);
    block.extend_from_slice(&low32(layout.blocks_at / BLOCK + layout.blocks));
    // Inodes are counted from the beginning of the image.
    block.extend_from_slice(&[0; 4]);
    block.extend_from_slice(&low32(layout.inodes_end / BLOCK));
    out.put(&block)?;
    out.pad_to(SUPERBLOCK_AT + SUPERBLOCK_BYTES)
}

fn inode(
    image: &Image,
    number: usize,
    place: &Place,
    blocks_at: u64,
    out: &mut Output<'_>,
) -> io::Result<()> {
    let node = &image.nodes[number];
    let inline = if place.tail_bytes > 0 { INLINE } else { PLAIN };
    let mut where_to = match place.blocks {
        0 => [0; 4],
        _ => low32(blocks_at),
    };
    let (kind, data, bytes) = match &node.kind {
        Kind::Directory { .. } => (0o040_000, inline, place.blocks * BLOCK + place.tail_bytes),
        Kind::Symlink { target } => (0o120_000, inline, target.len() as u64),
        Kind::Regular { bytes: 0 } => (0o100_000, PLAIN, 0),
        Kind::Regular { bytes } => {
            let bits = piece_bits(*bytes) - u32::from(BLOCK_BITS);
            where_to[..2].copy_from_slice(&low16(bits.into()));
            (0o100_000, PIECES, *bytes)
        }
        Kind::Whiteout => (0o020_000, PLAIN, 0),
    };
    let version = u16::from(place.form == Form::Extended);
    let format = data << 1 | version;
    let xattr_words = match place.xattr_bytes {
        0 => 0,
        bytes => (bytes - HEADER_BYTES) / 4 + 1,
    };
    let mut bytes_of = Vec::with_capacity(place.form.bytes() as usize);
    bytes_of.extend_from_slice(&format.to_le_bytes());
    bytes_of.extend_from_slice(&low16(xattr_words));
    bytes_of.extend_from_slice(&(kind | node.permissions).to_le_bytes());
    match place.form {
        Form::Compact => {
            bytes_of.extend_from_slice(&low16(place.links.into()));
            bytes_of.extend_from_slice(&low32(bytes));
            bytes_of.extend_from_slice(&[0; 4]);
            bytes_of.extend_from_slice(&where_to);
            bytes_of.extend_from_slice(&place.index.to_le_bytes());
            bytes_of.extend_from_slice(&low16(node.uid.into()));
            bytes_of.extend_from_slice(&low16(node.gid.into()));
            bytes_of.extend_from_slice(&[0; 4]);
        }
        Form::Extended => {
            bytes_of.extend_from_slice(&[0; 2]);
            bytes_of.extend_from_slice(&bytes.to_le_bytes());
            bytes_of.extend_from_slice(&where_to);
            bytes_of.extend_from_slice(&place.index.to_le_bytes());
            bytes_of.extend_from_slice(&node.uid.to_le_bytes());
            bytes_of.extend_from_slice(&node.gid.to_le_bytes());
            // Its own time.
            bytes_of.extend_from_slice(&[0; 12]);
            bytes_of.extend_from_slice(&place.links.to_le_bytes());
            bytes_of.extend_from_slice(&[0; 16]);
        }
    }
    out.put(&bytes_of)
}

fn xattrs(image: &Image, number: usize, layout: &Layout, out: &mut Output<'_>) -> io::Result<()> {
    let ids = &image.nodes[number].xattrs;
    if ids.is_empty() {
        return Ok(());
    }
    let (shared, own) = layout.shared.split(ids);
    out.put(&image.xattrs.filter(ids).to_le_bytes())?;
    // There are no more than 128 that are shared.
    out.put(&[shared.len() as u8, 0, 0, 0, 0, 0, 0, 0])?;
    for offset in shared {
        let at = layout.inodes_end % BLOCK + u64::from(offset);
        out.put(&low32(at / 4))?;
    }
    own.iter()
        .try_for_each(|id| xattr(image.xattrs.get(*id), out))
}

fn xattr(xattr: &Xattr, out: &mut Output<'_>) -> io::Result<()> {
    let (index, name) = xattr.split();
    // Both lengths were checked when the attribute was taken.
    out.put(&[name.len() as u8, index])?;
    out.put(&low16(xattr.value.len() as u64))?;
    out.put(name)?;
    out.put(&xattr.value)?;
    out.align(4)
}

/// Writes the end of an inode's data, where it stands behind the inode.
fn tail(image: &Image, number: usize, layout: &Layout, out: &mut Output<'_>) -> io::Result<()> {
    let place = &layout.places[number];
    if place.tail_bytes == 0 {
        return Ok(());
    }
    match &image.nodes[number].kind {
        Kind::Directory { .. } => {
            let entries = entries(image, number);
            match runs(&entries).last() {
                Some(last) => dirents(image, &entries[last.entries.clone()], layout, out),
                None => Ok(()),
            }
        }
        Kind::Symlink { target } => out.put(target),
        Kind::Regular { .. } => nowhere(place.tail_bytes / 4, out),
        Kind::Whiteout => Ok(()),
    }
}

/// Writes the blocks of an inode's data.
fn blocks(image: &Image, number: usize, layout: &Layout, out: &mut Output<'_>) -> io::Result<()> {
    let place = &layout.places[number];
    if place.blocks == 0 {
        return Ok(());
    }
    match &image.nodes[number].kind {
        Kind::Directory { .. } => {
            let entries = entries(image, number);
            for run in runs(&entries).iter().take(place.blocks as usize) {
                dirents(image, &entries[run.entries.clone()], layout, out)?;
                out.align(BLOCK)?;
            }
            Ok(())
        }
        Kind::Symlink { target } => {
            out.put(target)?;
            out.align(BLOCK)
        }
        Kind::Regular { .. } => nowhere(BLOCK / 4, out),
        Kind::Whiteout => Ok(()),
    }
}

fn nowhere(pieces: u64, out: &mut Output<'_>) -> io::Result<()> {
    (0..pieces).try_for_each(|_| out.put(&NOWHERE))
}

fn dirents(
    image: &Image,
    entries: &[Entry<'_>],
    layout: &Layout,
    out: &mut Output<'_>,
) -> io::Result<()> {
    let mut name_at = entries.len() as u64 * DIRENT_BYTES;
    for entry in entries {
        let kind = match image.nodes[entry.node].kind {
            Kind::Regular { .. } => 1,
            Kind::Directory { .. } => 2,
            Kind::Whiteout => 3,
            Kind::Symlink { .. } => 7,
        };
        out.put(&layout.places[entry.node].number().to_le_bytes())?;
        out.put(&low16(name_at))?;
        out.put(&[kind, 0])?;
        name_at += entry.name.len() as u64;
    }
    entries.iter().try_for_each(|entry| out.put(entry.name))
}

const _: () = assert!(SLOT == 32 && SUPERBLOCK_AT + SUPERBLOCK_BYTES < BLOCK);
