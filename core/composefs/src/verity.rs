//! fs-verity digests: a hash tree over blocks of 4 096 bytes with SHA-256 and no salt, the only kind that
//! composefs knows.

use std::fmt;
use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

const BLOCK: usize = crate::BLOCK as usize;
const HASH: usize = 32;

/// The fs-verity digest of a file, as the kernel measures it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; HASH]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Computes the fs-verity digest of what it is fed.
///
/// ```
/// let mut hasher = treeferry_core_composefs::VerityHasher::new();
/// hasher.update(b"moo\n");
/// assert_eq!(
///     hasher.finish().to_string(),
///     "ebaa23af194a798df610e5fe2bd10725c9c4a3a56a6b62d4d0ee551d4fc4be27"
/// );
/// ```
#[derive(Debug, Clone, Default)]
pub struct VerityHasher {
    bytes: u64,
    /// The block that is not full yet.
    data: Vec<u8>,
    /// For each level of the tree, the hashes that are not hashed themselves yet: a block at most.
    levels: Vec<Vec<u8>>,
}

impl VerityHasher {
    /// Starts with an empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the bytes that come next.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if !self.data.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.data.len()));
            self.data.extend_from_slice(now);
            bytes = later;
            if self.data.len() < BLOCK {
                return;
            }
            let hash = hash_block(&self.data);
            self.data.clear();
            self.add(0, hash);
        }
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        for block in blocks {
            self.add(0, hash_block(block));
        }
        self.data.extend_from_slice(rest);
    }

    /// Adds all that a reader gives.
    ///
    /// # Errors
    ///
    /// Those of the reader; what it gave until then is added.
    pub fn update_from(&mut self, reader: &mut dyn Read) -> io::Result<()> {
        let mut buffer = vec![0; 16 * BLOCK];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => self.update(&buffer[..length]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Returns the digest.
    pub fn finish(mut self) -> Digest {
        if !self.data.is_empty() {
            let hash = hash_block(&self.data);
            self.add(0, hash);
        }
        let root = self.root();
        let mut descriptor = [0; 256];
        // Version 1, SHA-256, blocks of 2^12 bytes, no salt.
        descriptor[..3].copy_from_slice(&[1, 1, 12]);
        descriptor[8..16].copy_from_slice(&self.bytes.to_le_bytes());
        descriptor[16..16 + HASH].copy_from_slice(&root);
        Digest(Sha256::digest(descriptor).into())
    }

    /// Adds a hash to a level; a level that is full becomes one hash of the level above.
    fn add(&mut self, level: usize, hash: [u8; HASH]) {
        let mut hash = hash;
        for level in level.. {
            if level == self.levels.len() {
                self.levels.push(Vec::with_capacity(BLOCK));
            }
            let block = &mut self.levels[level];
            if block.len() < BLOCK {
                block.extend_from_slice(&hash);
                return;
            }
            let above = hash_block(block);
            block.clear();
            block.extend_from_slice(&hash);
            hash = above;
        }
    }

    /// Returns the hash at the top of the tree: of a file of one block that block's, of an empty file zeros.
    fn root(&mut self) -> [u8; HASH] {
        let mut level = 0;
        loop {
            let Some(block) = self.levels.get(level) else {
                return [0; HASH];
            };
            if let (0, Ok(only)) = (level, <[u8; HASH]>::try_from(block.as_slice()))
                && self.levels.len() == 1
            {
                return only;
            }
            let hash = hash_block(block);
            level += 1;
            if level == self.levels.len() {
                return hash;
            }
            self.add(level, hash);
        }
    }
}

/// Hashes a block; one that is short is filled with zeros.
fn hash_block(block: &[u8]) -> [u8; HASH] {
    const ZEROS: [u8; BLOCK] = [0; BLOCK];
    let hasher = Sha256::new_with_prefix(block);
    let zeros = &ZEROS[block.len().min(BLOCK)..];
    hasher.chain_update(zeros).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(pieces: &[&[u8]]) -> String {
        let mut hasher = VerityHasher::new();
        pieces.iter().for_each(|piece| hasher.update(piece));
        hasher.finish().to_string()
    }

    /// Bytes that have no pattern of the length of a block.
    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n % 251) as u8).collect()
    }

    /// The digests that `composefs-info measure-file` of composefs 1.0.8 gives.
    #[test]
    fn digests_are_those_that_composefs_measures() {
        for (length, wanted) in [
            (
                1,
                "b803429503d95915829b29fdbc8bbad142f3abfd11b1cadf5526582e685c0551",
            ),
            (
                4095,
                "5f4953aad672b0188023d6cd6fbce9d09508eb7dad165b6298ce0086bc1e72db",
            ),
            (
                4096,
                "13e9b8848ae484a36acb3f3cac0ceb2f7601e96633d15c92f9bd3dd44e492157",
            ),
            (
                4097,
                "b0d074abef4d544404facfab6ba242f6a8ccbde90f1325cd286f3c8aa8d0f8aa",
            ),
            (
                524_288,
                "d82861203d50ae9b60948504a704f35f5118bd229aeb1a22d6dae47b1767c4c4",
            ),
            (
                524_289,
                "4dc6905041c9c4ee73e13b53f63f5d289c46da359b664a965ead7f8cc4d799d4",
            ),
            (
                70_000_000,
                "a2d12f099406b506c1a3fa76f16ce203f6251d4b90b94a98c9a557fa2f1af0d8",
            ),
        ] {
            let bytes = bytes(length);
            assert_eq!(digest(&[&bytes]), wanted, "{length}");
            let pieces: Vec<&[u8]> = bytes.chunks(1000).collect();
            assert_eq!(digest(&pieces), wanted, "{length} in pieces");
        }
    }

    /// The digest that the kernel gives an empty file, as `fsverity digest` says.
    #[test]
    fn an_empty_file_has_no_tree() {
        let empty = "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95";
        assert_eq!(digest(&[]), empty);
        assert_eq!(digest(&[b"", b""]), digest(&[]));
    }

    #[test]
    fn a_reader_is_read_to_its_end() {
        let bytes = bytes(100_000);
        let mut hasher = VerityHasher::new();
        hasher.update_from(&mut bytes.as_slice()).unwrap();
        assert_eq!(hasher.finish().to_string(), digest(&[&bytes]));
    }
}
