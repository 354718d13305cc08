//! The order in which GLib's mutable dictionaries hand back their entries.
//!
//! Where OSTree adds to commit metadata it goes through a dictionary builder backed by a hash
//! table, and the entries end up in the order of the table's buckets. Which bucket that is follows
//! from the hash of the key and from everything that was added and removed before, so equal commits
//! need the table to be modelled. The facts below are those of GLib 2.74.

use super::{Dict, Value};

/// The bits of the number of buckets of the smallest table.
const MIN_SHIFT: u32 = 3;

/// For each number of bits of a table's size, the prime by which hashes are reduced.
const PRIMES: [u32; 32] = [
    1,
    2,
    3,
    7,
    13,
    31,
    61,
    127,
    251,
    509,
    1021,
    2039,
    4093,
    8191,
    16381,
    32749,
    65521,
    131_071,
    262_139,
    524_287,
    1_048_573,
    2_097_143,
    4_194_301,
    8_388_593,
    16_777_213,
    33_554_393,
    67_108_859,
    134_217_689,
    268_435_399,
    536_870_909,
    1_073_741_789,
    2_147_483_647,
];

/// A dictionary that orders its entries as GLib's `GVariantDict` does.
#[derive(Debug, Clone)]
pub struct VariantDict {
    buckets: Vec<Bucket>,
    modulus: u32,
    entries: usize,
    /// The number of buckets that are not [`Bucket::Free`].
    occupied: usize,
}

#[derive(Debug, Clone)]
enum Bucket {
    Free,
    Removed,
    Entry(Entry),
}

#[derive(Debug, Clone)]
struct Entry {
    hash: u32,
    key: String,
    value: Value,
}

/// Where a key is, or where it would be put.
enum Place {
    Found(usize),
    Vacant(usize),
}

impl Default for VariantDict {
    fn default() -> Self {
        Self {
            buckets: vec![Bucket::Free; 1 << MIN_SHIFT],
            modulus: PRIMES[MIN_SHIFT as usize],
            entries: 0,
            occupied: 0,
        }
    }
}

impl VariantDict {
    /// Returns an empty dictionary.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a dictionary with the entries of `dict` inserted in their order.
    pub fn from_dict(dict: &Dict) -> Self {
        let mut this = Self::new();
        for (key, value) in dict.iter() {
            this.insert(key, value.clone());
        }
        this
    }

    /// Sets `key` to `value`.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        let hash = hash(&key);
        match self.find(&key, hash) {
            Place::Found(at) => self.buckets[at] = Bucket::Entry(Entry { hash, key, value }),
            Place::Vacant(at) => {
                let was_free = matches!(self.buckets[at], Bucket::Free);
                self.buckets[at] = Bucket::Entry(Entry { hash, key, value });
                self.entries += 1;
                if was_free {
                    self.occupied += 1;
                    self.resize_if_needed();
                }
            }
        }
    }

    /// Removes `key` and returns whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        let Place::Found(at) = self.find(key, hash(key)) else {
            return false;
        };
        self.buckets[at] = Bucket::Removed;
        self.entries -= 1;
        self.resize_if_needed();
        true
    }

    /// Returns the value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self.find(key, hash(key)) {
            Place::Found(at) => match &self.buckets[at] {
                Bucket::Entry(entry) => Some(&entry.value),
                Bucket::Free | Bucket::Removed => None,
            },
            Place::Vacant(_) => None,
        }
    }

    /// Returns whether there is an entry for `key`.
    pub fn contains(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Returns the entries in the order in which GLib would lay them out.
    pub fn end(self) -> Dict {
        let entry = |bucket| match bucket {
            Bucket::Entry(entry) => Some((entry.key, entry.value)),
            Bucket::Free | Bucket::Removed => None,
        };
        self.buckets.into_iter().filter_map(entry).collect()
    }

    fn find(&self, key: &str, hash: u32) -> Place {
        let mut probe = Probe::new(hash, self.modulus, self.buckets.len());
        let mut removed = None;
        loop {
            let at = probe.at;
            match &self.buckets[at] {
                Bucket::Free => return Place::Vacant(removed.unwrap_or(at)),
                Bucket::Removed => _ = removed.get_or_insert(at),
                Bucket::Entry(entry) if entry.hash == hash && entry.key == key => {
                    return Place::Found(at);
                }
                Bucket::Entry(_) => {}
            }
            probe.advance();
        }
    }

    fn resize_if_needed(&mut self) {
        let size = self.buckets.len();
        let sparse = size > 1 << MIN_SHIFT && size > self.entries * 4;
        if sparse || size <= self.occupied + self.occupied / 16 {
            self.rehash();
        }
    }

    /// Moves all entries to where they belong in a table sized for their number.
    ///
    /// The table is reordered in place: an entry put where one has not moved yet takes its bucket,
    /// and the evicted one is placed next. The order of collisions depends on that.
    fn rehash(&mut self) {
        // A third more than there are entries, in the floating point of the original.
        let wanted = (self.entries as f64 * 1.333) as u32;
        let shift = (u32::BITS - wanted.leading_zeros()).clamp(MIN_SHIFT, 31);
        let (old, new) = (self.buckets.len(), 1_usize << shift);
        self.modulus = PRIMES[shift as usize];
        self.buckets.resize(old.max(new), Bucket::Free);
        let mut settled = vec![false; old.max(new)];
        for start in 0..old {
            if settled[start] {
                continue;
            }
            let mut moving = std::mem::replace(&mut self.buckets[start], Bucket::Free);
            while let Bucket::Entry(entry) = moving {
                let mut probe = Probe::new(entry.hash, self.modulus, new);
                while settled[probe.at] {
                    probe.advance();
                }
                settled[probe.at] = true;
                moving = std::mem::replace(&mut self.buckets[probe.at], Bucket::Entry(entry));
            }
        }
        self.buckets.truncate(new);
        self.occupied = self.entries;
    }
}

/// The buckets in which to look for a hash, with growing steps between them.
struct Probe {
    at: usize,
    step: usize,
    mask: usize,
}

impl Probe {
    fn new(hash: u32, modulus: u32, size: usize) -> Self {
        Self {
            at: (hash.wrapping_mul(11) % modulus) as usize,
            step: 0,
            mask: size - 1,
        }
    }

    fn advance(&mut self) {
        self.step += 1;
        self.at = (self.at + self.step) & self.mask;
    }
}

/// Returns the hash of a string; 0 and 1 mark buckets without an entry and are not used.
fn hash(key: &str) -> u32 {
    let step = |hash: u32, byte: u8| {
        hash.wrapping_mul(33)
            .wrapping_add_signed(i32::from(byte.cast_signed()))
    };
    key.bytes().fold(5381, step).max(2)
}
