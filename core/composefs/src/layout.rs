//! Where in the image everything is.
//!
//! Inodes follow one another breadth first, each at a multiple of 32 bytes, which makes its number. The end
//! of an inode's data may stand behind its attributes, where it may not cross the boundary of a block; what
//! does not fit there goes to blocks of its own at the end of the image.

use crate::tree::{Image, Kind, Node};
use crate::xattr::{self, SharedXattrs, XattrId};
use crate::{BLOCK, ImageError};

/// Where the superblock begins.
pub(crate) const SUPERBLOCK_AT: u64 = 1024;
/// How long the superblock is.
pub(crate) const SUPERBLOCK_BYTES: u64 = 128;
/// What inodes begin at a multiple of.
pub(crate) const SLOT: u64 = 32;
/// What stands before the name of a directory's entry, all of them before all names.
pub(crate) const DIRENT_BYTES: u64 = 12;
/// The largest piece that a file's content is told in, as a power of 2: 8 TiB.
pub(crate) const PIECE_BITS_MAX: u32 = 43;
/// The smallest: a block.
const PIECE_BITS_MIN: u32 = 12;
/// How long a piece's place is.
const PIECE_BYTES: u64 = 4;
/// The end of a directory longer than this gets a block of its own.
const DIR_TAIL_MAX: u64 = BLOCK / 2;

/// What an inode's header looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// For small numbers.
    Compact,
    /// For all others.
    Extended,
}

impl Form {
    /// Returns how long it is.
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Self::Compact => 32,
            Self::Extended => 64,
        }
    }
}

/// Where an inode is, and how long what belongs to it is.
#[derive(Debug)]
pub(crate) struct Place {
    /// Where it begins.
    pub(crate) at: u64,
    /// How many inodes are before it.
    pub(crate) index: u32,
    pub(crate) form: Form,
    /// How many directories there are in it, `.` and the entry that is its own included; 1 for files.
    pub(crate) links: u32,
    /// How long its attributes are.
    pub(crate) xattr_bytes: u64,
    /// How long the end of its data is that stands behind them.
    pub(crate) tail_bytes: u64,
    /// How many blocks of data it has elsewhere.
    pub(crate) blocks: u64,
}

impl Place {
    /// Returns the inode's number, by which entries of directories name it.
    pub(crate) fn number(&self) -> u64 {
        self.at / SLOT
    }
}

/// Where everything is.
#[derive(Debug)]
pub(crate) struct Layout {
    /// The nodes, breadth first.
    pub(crate) order: Vec<usize>,
    /// The place of each node, by its index in the image.
    pub(crate) places: Vec<Place>,
    pub(crate) shared: SharedXattrs,
    /// Where the inodes end and the shared attributes begin.
    pub(crate) inodes_end: u64,
    /// Where the blocks begin.
    pub(crate) blocks_at: u64,
    /// How many there are.
    pub(crate) blocks: u64,
}

/// Finds the place of everything in a tree that is sorted.
pub(crate) fn lay_out(image: &Image) -> Result<Layout, ImageError> {
    let order = breadth_first(image);
    let shared = image.xattrs.share()?;
    let mut places: Vec<Option<Place>> = Vec::new();
    places.resize_with(image.nodes.len(), || None);
    let (mut at, mut blocks) = (SUPERBLOCK_AT + SUPERBLOCK_BYTES, 0);
    for (index, number) in order.iter().enumerate() {
        let index = u32::try_from(index).map_err(|_| ImageError::TreeTooLarge)?;
        let place = place(image, *number, at, index, &shared);
        at = place.at + place.form.bytes() + place.xattr_bytes + place.tail_bytes;
        blocks += place.blocks;
        places[*number] = Some(place);
    }
    let inodes_end = at.next_multiple_of(SLOT);
    let blocks_at = (inodes_end + shared.bytes).next_multiple_of(BLOCK);
    // Addresses of blocks have 32 bits.
    u32::try_from(blocks_at / BLOCK + blocks).map_err(|_| ImageError::TreeTooLarge)?;
    Ok(Layout {
        order,
        // Every node is in a directory, and every directory below the root.
        places: places.into_iter().flatten().collect(),
        shared,
        inodes_end,
        blocks_at,
        blocks,
    })
}

fn breadth_first(image: &Image) -> Vec<usize> {
    let mut order = vec![0];
    let mut next = 0;
    while let Some(node) = order.get(next) {
        order.extend_from_slice(image.children(*node));
        next += 1;
    }
    order
}

fn place(image: &Image, number: usize, end: u64, index: u32, shared: &SharedXattrs) -> Place {
    let node = &image.nodes[number];
    let (blocks, tail_bytes) = data(image, number);
    let links = links(image, number);
    let form = form(node, links, blocks * BLOCK + tail_bytes);
    let xattr_bytes = xattr_bytes(image, &node.xattrs, shared);
    let mut place = Place {
        at: end.next_multiple_of(SLOT),
        index,
        form,
        links,
        xattr_bytes,
        tail_bytes,
        blocks,
    };
    match node.kind {
        Kind::Symlink { .. } => fit_symlink(&mut place),
        _ => fit_tail(&mut place),
    }
    place
}

/// Returns how many blocks of data a node has, and how long what is left of it is.
fn data(image: &Image, number: usize) -> (u64, u64) {
    match &image.nodes[number].kind {
        Kind::Directory { .. } => {
            let runs = runs(&entries(image, number));
            let (last, full) = match runs.split_last() {
                Some((last, full)) => (last.bytes, full.len() as u64),
                None => (0, 0),
            };
            match last > DIR_TAIL_MAX {
                true => (full + 1, 0),
                false => (full, last),
            }
        }
        Kind::Symlink { target } => (0, target.len() as u64),
        Kind::Regular { bytes: 0 } | Kind::Whiteout => (0, 0),
        Kind::Regular { bytes } => (0, bytes.div_ceil(1 << piece_bits(*bytes)) * PIECE_BYTES),
    }
}

/// Returns the size of the pieces that a file which is not empty is told in, as a power of 2: as few pieces
/// as can be, and those no larger than need be.
pub(crate) fn piece_bits(bytes: u64) -> u32 {
    let bits = (bytes - 1).checked_ilog2().unwrap_or(0) + 1;
    bits.clamp(PIECE_BITS_MIN, PIECE_BITS_MAX)
}

fn links(image: &Image, number: usize) -> u32 {
    let is_dir = |child: &&usize| matches!(image.nodes[**child].kind, Kind::Directory { .. });
    match image.nodes[number].kind {
        Kind::Directory { .. } => {
            let below = image.children(number).iter().filter(is_dir).count();
            u32::try_from(below).map_or(u32::MAX, |below| below.saturating_add(2))
        }
        _ => 1,
    }
}

fn form(node: &Node, links: u32, dir_bytes: u64) -> Form {
    let bytes = match &node.kind {
        Kind::Directory { .. } => dir_bytes,
        Kind::Symlink { target } => target.len() as u64,
        Kind::Regular { bytes } => *bytes,
        Kind::Whiteout => 0,
    };
    let fits = [links, node.uid, node.gid]
        .iter()
        .all(|n| *n <= u32::from(u16::MAX))
        && bytes <= u64::from(u32::MAX);
    match fits {
        true => Form::Compact,
        false => Form::Extended,
    }
}

fn xattr_bytes(image: &Image, ids: &[XattrId], shared: &SharedXattrs) -> u64 {
    if ids.is_empty() {
        return 0;
    }
    let (elsewhere, own) = shared.split(ids);
    let own: u64 = own.iter().map(|id| image.xattrs.get(*id).bytes()).sum();
    xattr::HEADER_BYTES + elsewhere.len() as u64 * xattr::ENTRY_BYTES + own
}

/// Moves a symbolic link so that all of it is in one block; a target that is too long for that gets a block
/// of its own.
fn fit_symlink(place: &mut Place) {
    let all = place.form.bytes() + place.xattr_bytes + place.tail_bytes;
    if all >= BLOCK {
        place.blocks += 1;
        place.tail_bytes = 0;
    }
    if place.at / BLOCK != (place.at + all - 1) / BLOCK {
        place.at = place.at.next_multiple_of(BLOCK);
    }
}

/// Moves an inode so that the end of its data is in one block, or puts that into a block of its own.
fn fit_tail(place: &mut Place) {
    let head = place.form.bytes() + place.xattr_bytes;
    let room = |at: u64| BLOCK - (at + head) % BLOCK;
    if place.tail_bytes <= room(place.at) {
        return;
    }
    // The tail at the beginning of the next block, or, as inodes begin at slots, a little behind it.
    let moved = place.at + room(place.at).next_multiple_of(SLOT);
    if place.tail_bytes <= room(moved) {
        place.at = moved;
    } else {
        place.blocks += 1;
        place.tail_bytes = 0;
        place.at = place.at.next_multiple_of(BLOCK);
    }
}

/// An entry of a directory, as it is written.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) node: usize,
}

/// Returns the entries of a directory, with those for itself and for what it is in; of what is none, none.
pub(crate) fn entries(image: &Image, number: usize) -> Vec<Entry<'_>> {
    let Kind::Directory { parent, children } = &image.nodes[number].kind else {
        return Vec::new();
    };
    let entry = |child: &usize| Entry {
        name: &image.nodes[*child].name,
        node: *child,
    };
    let mut entries: Vec<_> = children.iter().map(entry).collect();
    for (name, node) in [(&b"."[..], number), (b"..", *parent)] {
        let at = entries.partition_point(|entry| entry.name < name);
        entries.insert(at, Entry { name, node });
    }
    entries
}

/// Entries that stand in one block.
#[derive(Debug)]
pub(crate) struct Run {
    /// Which entries of the directory.
    pub(crate) entries: std::ops::Range<usize>,
    /// How long they are.
    pub(crate) bytes: u64,
}

/// Fills blocks with entries.
pub(crate) fn runs(entries: &[Entry<'_>]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let bytes = DIRENT_BYTES + entry.name.len() as u64;
        match runs.last_mut() {
            Some(run) if run.bytes + bytes <= BLOCK => {
                run.bytes += bytes;
                run.entries.end = number + 1;
            }
            _ => runs.push(Run {
                entries: number..number + 1,
                bytes,
            }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_in_as_few_pieces_as_can_be() {
        for (bytes, bits) in [
            (1, 12),
            (4096, 12),
            (4097, 13),
            (1 << 30, 30),
            ((1 << 30) + 1, 31),
            (1 << 43, 43),
            (u64::MAX, 43),
        ] {
            assert_eq!(piece_bits(bytes), bits, "{bytes}");
        }
    }

    fn at(at: u64, head: u64, tail_bytes: u64) -> Place {
        Place {
            at,
            index: 0,
            form: Form::Compact,
            links: 1,
            xattr_bytes: head - Form::Compact.bytes(),
            tail_bytes,
            blocks: 0,
        }
    }

    #[test]
    fn a_tail_crosses_no_boundary_of_a_block() {
        for (from, head, tail, to, blocks) in [
            (0, 32, 100, 0, 0),
            (4032, 32, 32, 4032, 0),
            (4032, 32, 33, 4064, 0),
            // The tail would begin 16 bytes into the next block.
            (4000, 80, 100, 4032, 0),
            (4000, 80, 4090, 4096, 1),
        ] {
            let mut place = at(from, head, tail);
            fit_tail(&mut place);
            assert_eq!(
                (place.at, place.blocks),
                (to, blocks),
                "{from} {head} {tail}"
            );
        }
    }

    #[test]
    fn a_link_and_its_target_are_in_one_block() {
        for (from, target, to, blocks) in [
            (0, 4063, 0, 0),
            (0, 4064, 0, 1),
            (32, 4000, 32, 0),
            (64, 4001, 4096, 0),
            (64, 4095, 4096, 1),
        ] {
            let mut place = at(from, 32, target);
            fit_symlink(&mut place);
            assert_eq!((place.at, place.blocks), (to, blocks), "{from} {target}");
        }
    }
}
