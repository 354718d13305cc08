//! Finds what a new file has of an old one.
//!
//! The result is of the shape that bsdiff has: stretches of the old file that are nearly those of
//! the new one, byte for byte, and what is new between them. Other than bsdiff it sorts nothing: the
//! old file is indexed by hashes of short strings, which finds as good matches in a fraction of
//! the time and of the memory.

/// How long the strings are that are looked up, bytes.
const SEED_BYTES: usize = 8;
/// Every so many-th string of the old file is in the index.
const STRIDE: usize = 2;
/// How many places with the same hash are compared, at most.
const CANDIDATES_MAX: usize = 12;
/// A match of this length is taken without looking for a longer one.
const LONG_ENOUGH: usize = 4096;
/// By how much a match must beat going on where one is.
const GAIN_MIN: usize = 8;
/// After so many places in a row without a match, only every second one is looked at, after twice as many
/// every third: long stretches that resemble nothing are passed quickly. Fewer lose matches in kernels.
const MISSES_A_STEP: usize = 4096;
/// The longest step.
const STEP_MAX: usize = 24;

/// A stretch of a new file: first bytes that resemble old ones, then new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Where it begins in the old file.
    pub(crate) old: usize,
    /// How many bytes resemble the old ones.
    pub(crate) alike: usize,
    /// How many bytes that are new follow.
    pub(crate) fresh: usize,
}

/// Where strings are in an old file.
struct Index {
    /// The first place of each hash, plus one.
    heads: Vec<u32>,
    /// The next place with the same hash, plus one, of every indexed place.
    nexts: Vec<u32>,
    shift: u32,
}

impl Index {
    fn new(old: &[u8]) -> Self {
        let places = old.len().saturating_sub(SEED_BYTES - 1).div_ceil(STRIDE);
        let bits = (usize::BITS - places.leading_zeros()).clamp(8, 24);
        let mut index = Self {
            heads: vec![0; 1 << bits],
            nexts: vec![0; places],
            shift: 64 - bits,
        };
        // From the end, so that the lists begin with the first place.
        for place in (0..places).rev() {
            let hash = index.hash(&old[place * STRIDE..]);
            index.nexts[place] = index.heads[hash];
            index.heads[hash] = u32::try_from(place + 1).unwrap_or(0);
        }
        index
    }

    fn hash(&self, bytes: &[u8]) -> usize {
        let mut word = [0; SEED_BYTES];
        word.copy_from_slice(&bytes[..SEED_BYTES]);
        let mixed = u64::from_le_bytes(word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        usize::try_from(mixed >> self.shift).unwrap_or(0)
    }

    /// Returns the best of the first places that have what `new` begins with: where, how long.
    fn find(&self, old: &[u8], new: &[u8]) -> Option<(usize, usize)> {
        if new.len() < SEED_BYTES {
            return None;
        }
        let mut best = None;
        let mut length_best = SEED_BYTES - 1;
        let mut next = self.heads[self.hash(new)];
        for _ in 0..CANDIDATES_MAX {
            let Some(place) = next.checked_sub(1) else {
                break;
            };
            let place = place as usize;
            next = self.nexts[place];
            let at = place * STRIDE;
            // Whoever is no longer cannot win, and one byte tells.
            if old.get(at + length_best) != new.get(length_best) && length_best < new.len() {
                continue;
            }
            let length = common(&old[at..], new);
            if length > length_best {
                (best, length_best) = (Some((at, length)), length);
                if length >= LONG_ENOUGH {
                    break;
                }
            }
        }
        best
    }
}

/// Returns how many bytes `a` and `b` begin with that are the same.
fn common(a: &[u8], b: &[u8]) -> usize {
    let length = a.len().min(b.len());
    let (a, b) = (&a[..length], &b[..length]);
    let mut at = 0;
    for (x, y) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        if x != y {
            break;
        }
        at += 8;
    }
    while at < length && a[at] == b[at] {
        at += 1;
    }
    at
}

/// Describes `new` by what it has of `old`.
pub(crate) fn diff(old: &[u8], new: &[u8]) -> Vec<Stretch> {
    // Places are kept in 32 bits.
    let old = &old[..old.len().min(u32::MAX as usize / 2)];
    let index = Index::new(old);
    let mut search = Search {
        old,
        new,
        stretches: Vec::new(),
        begun: 0,
        begun_old: 0,
    };
    let (mut at, mut misses) = (0, 0_usize);
    while at < new.len() {
        // What goes on as before needs no looking up.
        at += common(search.aligned(at), &new[at..]);
        if at >= new.len() {
            break;
        }
        let Some((place, length)) = index.find(old, &new[at..]) else {
            misses += 1;
            at += (1 + misses / MISSES_A_STEP).min(STEP_MAX);
            continue;
        };
        misses = 0;
        // Strings are indexed, and may be looked at, at few places: the match may have begun before.
        let back = search.back(at, place);
        let (start, place, length) = (at - back, place - back, length + back);
        let going_on = search.equal_if_going_on(start, length);
        if length > going_on + GAIN_MIN {
            search.accept(start, place);
            at = start + length;
        } else {
            at += 1;
        }
    }
    search.end();
    search.stretches
}

struct Search<'a> {
    old: &'a [u8],
    new: &'a [u8],
    stretches: Vec<Stretch>,
    /// Where the stretch under way begins, in the new file and in the old one.
    begun: usize,
    begun_old: usize,
}

impl Search<'_> {
    /// Returns what the old file has where `at` would be if nothing was inserted or left out.
    fn aligned(&self, at: usize) -> &[u8] {
        self.old
            .get(self.begun_old + (at - self.begun)..)
            .unwrap_or_default()
    }

    /// Returns how far a match can be extended towards the front, not before the stretch's begin.
    fn back(&self, at: usize, place: usize) -> usize {
        let most = (at - self.begun).min(place).min(STEP_MAX.max(STRIDE));
        let same = |n: &usize| self.old[place - n] == self.new[at - n];
        (1..=most).take_while(same).count()
    }

    fn equal_if_going_on(&self, at: usize, length: usize) -> usize {
        let new = &self.new[at..at + length];
        let pairs = self.aligned(at).iter().zip(new);
        pairs.filter(|(a, b)| a == b).count()
    }

    /// Ends the stretch under way where the one that begins with a match takes over.
    fn accept(&mut self, at: usize, place: usize) {
        let gap = at - self.begun;
        let forward = self.forward(gap);
        let backward = self.backward(at, place, gap);
        let (alike, backward) = match (forward + backward).checked_sub(gap) {
            Some(overlap) if overlap > 0 => self.split(at, place, forward, backward, overlap),
            _ => (forward, backward),
        };
        self.stretches.push(Stretch {
            old: self.begun_old,
            alike,
            fresh: gap - alike - backward,
        });
        self.begun = at - backward;
        self.begun_old = place - backward;
    }

    fn end(&mut self) {
        let gap = self.new.len() - self.begun;
        let alike = self.forward(gap);
        self.stretches.push(Stretch {
            old: self.begun_old,
            alike,
            fresh: gap - alike,
        });
    }

    /// Returns how far the stretch under way is worth going on: until more differs than is the same.
    fn forward(&self, gap: usize) -> usize {
        let new = &self.new[self.begun..self.begun + gap];
        let same = self
            .aligned(self.begun)
            .iter()
            .zip(new)
            .map(|(a, b)| a == b);
        furthest(same)
    }

    /// Returns how far before a match it is worth to begin.
    fn backward(&self, at: usize, place: usize, gap: usize) -> usize {
        let new = self.new[at - gap..at].iter().rev();
        let same = self.old[..place].iter().rev().zip(new).map(|(a, b)| a == b);
        furthest(same)
    }

    /// Decides where one stretch ends and the next begins, of bytes that both could have.
    fn split(
        &self,
        at: usize,
        place: usize,
        forward: usize,
        backward: usize,
        overlap: usize,
    ) -> (usize, usize) {
        let (mut score, mut best, mut first) = (0_i64, 0_i64, 0);
        for n in 0..overlap {
            let new_at = self.begun + forward - overlap + n;
            let new = self.new[new_at];
            let before = self.old[self.begun_old + forward - overlap + n];
            let after = self.old[place - (at - new_at)];
            score += i64::from(new == before) - i64::from(new == after);
            if score > best {
                (best, first) = (score, n + 1);
            }
        }
        (forward - overlap + first, backward - first)
    }
}

/// Returns how many to take so that those that are the same outnumber the others the most.
fn furthest(same: impl Iterator<Item = bool>) -> usize {
    let (mut score, mut best, mut taken) = (0_i64, 0_i64, 0);
    for (number, same) in same.enumerate() {
        score += if same { 1 } else { -1 };
        if score > best {
            (best, taken) = (score, number + 1);
        }
        // It will not recover from this.
        if score < best - 4096 {
            break;
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(seed | 1);
            (state >> 56) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    fn rebuild(old: &[u8], new: &[u8]) -> usize {
        let (mut at, mut fresh) = (0, 0);
        for stretch in diff(old, new) {
            assert!(stretch.alike == 0 || stretch.old + stretch.alike <= old.len());
            at += stretch.alike + stretch.fresh;
            fresh += stretch.fresh;
        }
        assert_eq!(at, new.len(), "the stretches are the new file");
        fresh
    }

    #[test]
    fn what_moved_is_found() {
        let old = noise(1, 100_000);
        let mut new = noise(2, 777);
        new.extend_from_slice(&old[50_000..]);
        new.extend_from_slice(&noise(3, 333));
        new.extend_from_slice(&old[..50_000]);
        let fresh = rebuild(&old, &new);
        assert!(fresh < 777 + 333 + 64, "{fresh} bytes are called new");
    }

    #[test]
    fn scattered_changes_do_not_break_a_stretch() {
        let old = noise(4, 60_000);
        let mut new = old.clone();
        for at in (0..new.len()).step_by(37) {
            new[at] ^= 0x55;
        }
        assert_eq!(diff(&old, &new).len(), 1);
        assert_eq!(rebuild(&old, &new), 0);
    }

    #[test]
    fn any_pair_is_described() {
        let (a, b) = (noise(5, 3000), noise(6, 3000));
        let zeroes = vec![0; 5000];
        let samples: [&[u8]; 7] = [&[], b"x", &a[..7], &a[..8], &a, &b, &zeroes];
        for old in samples {
            for new in samples {
                rebuild(old, new);
            }
        }
    }
}
