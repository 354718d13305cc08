//! Extended attributes: each different one is kept once, and counted.
//!
//! An attribute that several inodes have stands once, behind the inodes; each of them then has its
//! number. One that a single inode has stands in it.

use std::collections::HashMap;
use std::sync::Arc;

use twox_hash::XxHash32;

use crate::ImageError;

/// What stands before the attributes of an inode.
pub(crate) const HEADER_BYTES: u64 = 12;
/// What stands before the name of an attribute, and the number of one that is shared.
pub(crate) const ENTRY_BYTES: u64 = 4;
/// How many of its attributes an inode may have elsewhere.
const SHARED_MAX: usize = 128;
/// The room that an inode's attributes may take, by libcomposefs's account.
const ROOM: usize = 32_767;
const NAME_MAX: usize = 255;
const FILTER_SEED: u32 = 0x25BB_E08F;

/// Beginnings of names that erofs writes as a number.
const PREFIXES: [(&[u8], u8); 5] = [
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", 4),
    (b"security.", 6),
];

/// What overlayfs keeps for itself.
const OVERLAY: &[u8] = b"trusted.overlay.";

/// An extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Xattr {
    pub(crate) name: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

impl Xattr {
    /// Returns the number of the beginning of the name, and the rest of it.
    pub(crate) fn split(&self) -> (u8, &[u8]) {
        let known = PREFIXES.iter().find_map(|(prefix, index)| {
            let rest = self.name.strip_prefix(*prefix)?;
            Some((*index, rest))
        });
        known.unwrap_or((0, &self.name))
    }

    /// Returns how many bytes it takes, which are a multiple of 4.
    pub(crate) fn bytes(&self) -> u64 {
        let length = self.split().1.len() + self.value.len();
        (ENTRY_BYTES + length as u64).next_multiple_of(4)
    }

    /// Returns the bit that says in an inode's filter that the inode has an attribute of such a name.
    fn filter_bit(&self) -> u32 {
        let (index, rest) = self.split();
        1 << (XxHash32::oneshot(FILTER_SEED + u32::from(index), rest) % 32)
    }
}

/// Which of the table's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct XattrId(u32);

/// The different attributes of a tree.
#[derive(Debug, Default)]
pub(crate) struct XattrTable {
    ids: HashMap<Arc<Xattr>, XattrId>,
    list: Vec<(Arc<Xattr>, u32)>,
}

impl XattrTable {
    /// Takes the attributes of one file as they are to be seen in the mounted tree: those that
    /// overlayfs would take for its own get the name by which it shows them.
    pub(crate) fn take_all<'a>(
        &mut self,
        attributes: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<Vec<XattrId>, ImageError> {
        let mut room = HEADER_BYTES as usize;
        let mut ids = Vec::new();
        for (name, value) in attributes {
            if name.is_empty() || name.len() > NAME_MAX || name.contains(&0) {
                return Err(ImageError::Xattrs("a name is not one"));
            }
            room += 2 * ENTRY_BYTES as usize - 1 + name.len() + value.len();
            if room > ROOM {
                return Err(ImageError::Xattrs("there are too many for one file"));
            }
            let name = match name.strip_prefix(OVERLAY) {
                Some(rest) => [OVERLAY, b"overlay.", rest].concat(),
                None => name.to_vec(),
            };
            let is_taken = |id: &XattrId| self.get(*id).name == name;
            if ids.iter().any(is_taken) {
                return Err(ImageError::Xattrs("a name is there twice"));
            }
            ids.push(self.take(name, value.to_vec())?);
        }
        Ok(ids)
    }

    /// Takes an attribute as it is written.
    pub(crate) fn take(&mut self, name: Vec<u8>, value: Vec<u8>) -> Result<XattrId, ImageError> {
        let xattr = Xattr { name, value };
        let id = match self.ids.get(&xattr) {
            Some(id) => *id,
            None => {
                let count = u32::try_from(self.list.len());
                let id = XattrId(count.map_err(|_| ImageError::TreeTooLarge)?);
                let xattr = Arc::new(xattr);
                self.ids.insert(Arc::clone(&xattr), id);
                self.list.push((xattr, 0));
                id
            }
        };
        let count = &mut self.list[id.0 as usize].1;
        *count = count.saturating_add(1);
        Ok(id)
    }

    pub(crate) fn get(&self, id: XattrId) -> &Xattr {
        &self.list[id.0 as usize].0
    }

    /// Sorts a file's attributes as they are written.
    pub(crate) fn sort(&self, ids: &mut [XattrId]) {
        ids.sort_unstable_by(|a, b| self.get(*a).name.cmp(&self.get(*b).name));
    }

    /// Returns a file's filter: a bit that is set says that there is no attribute of such a name.
    pub(crate) fn filter(&self, ids: &[XattrId]) -> u32 {
        !ids.iter()
            .fold(0, |bits, id| bits | self.get(*id).filter_bit())
    }

    /// Finds out which attributes are shared, once all are told.
    pub(crate) fn share(&self) -> Result<SharedXattrs, ImageError> {
        let several = |id: &XattrId| self.list[id.0 as usize].1 > 1;
        let mut order: Vec<XattrId> = (0..self.list.len() as u32)
            .map(XattrId)
            .filter(several)
            .collect();
        // Backwards by name, then by length, then by value.
        let key = |id: &XattrId| {
            let Xattr { name, value } = self.get(*id);
            std::cmp::Reverse((name, value.len(), value))
        };
        order.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
        let mut offsets = vec![None; self.list.len()];
        let mut bytes = 0;
        for id in &order {
            offsets[id.0 as usize] =
                Some(u32::try_from(bytes).map_err(|_| ImageError::TreeTooLarge)?);
            bytes += self.get(*id).bytes();
        }
        Ok(SharedXattrs {
            order,
            offsets,
            bytes,
        })
    }
}

/// The attributes that several files have.
#[derive(Debug)]
pub(crate) struct SharedXattrs {
    /// Which, in the order in which they are written.
    pub(crate) order: Vec<XattrId>,
    /// How many bytes they take.
    pub(crate) bytes: u64,
    offsets: Vec<Option<u32>>,
}

impl SharedXattrs {
    /// Splits a file's sorted attributes into the offsets of those that stand elsewhere and those that
    /// stand in its inode.
    pub(crate) fn split(&self, ids: &[XattrId]) -> (Vec<u32>, Vec<XattrId>) {
        let (mut shared, mut own) = (Vec::new(), Vec::new());
        for id in ids {
            match self.offsets[id.0 as usize] {
                Some(offset) if shared.len() < SHARED_MAX => shared.push(offset),
                _ => own.push(*id),
            }
        }
        (shared, own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xattr(name: &str) -> Xattr {
        Xattr {
            name: name.into(),
            value: b"12345".to_vec(),
        }
    }

    #[test]
    fn the_beginning_of_a_name_is_a_number() {
        for (name, index, rest) in [
            ("user.mime", 1, "mime"),
            ("system.posix_acl_access", 2, ""),
            ("trusted.overlay.x", 4, "overlay.x"),
            ("security.ima", 6, "ima"),
            ("lustre.x", 0, "lustre.x"),
        ] {
            assert_eq!(xattr(name).split(), (index, rest.as_bytes()), "{name}");
        }
        assert_eq!(xattr("user.a").bytes(), 12);
        assert_eq!(xattr("user.").bytes(), 12);
    }

    #[test]
    fn what_is_overlayfs_s_is_escaped() {
        let mut table = XattrTable::default();
        let ids = table
            .take_all([(&b"trusted.overlay.opaque"[..], &b"y"[..])])
            .unwrap();
        assert_eq!(table.get(ids[0]).name, b"trusted.overlay.overlay.opaque");
    }

    #[test]
    fn what_no_inode_has_room_for_is_refused() {
        let mut table = XattrTable::default();
        let long = vec![0; 40_000];
        let name = [b'a'; 256];
        for (name, value) in [
            (&b"user.a"[..], long.as_slice()),
            (&name, b""),
            (b"", b""),
            (b"a\0b", b""),
        ] {
            assert!(table.take_all([(name, value)]).is_err());
        }
        let twice = [(&b"user.a"[..], &b""[..]), (&b"user.a"[..], &b"1"[..])];
        assert!(table.take_all(twice).is_err());
    }

    #[test]
    fn only_what_several_have_is_shared() {
        let mut table = XattrTable::default();
        let one = table.take(b"user.a".to_vec(), vec![]).unwrap();
        let two = table.take(b"user.b".to_vec(), vec![]).unwrap();
        assert_eq!(table.take(b"user.b".to_vec(), vec![]).unwrap(), two);
        let shared = table.share().unwrap();
        assert_eq!(shared.order, [two]);
        assert_eq!(shared.split(&[one, two]), (vec![0], vec![one]));
    }
}
