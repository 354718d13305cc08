//! In which form a file travels: whole, as copies of an old one, or as a patch: whichever is smallest.

use std::io::Read;

use super::differ::{Stretch, diff};
use super::nature::{Nature, nature};
use crate::codec::{Codec, Finish};
use crate::error::{Result, from_read};
use crate::format::delta::{PatchStep, write_patch_step};
use crate::format::{Checksum, FileHeader};
use crate::store::ContentReader;

/// A run of bytes that is the same is copied only if it is so long: an operation costs some bytes.
const COPY_BYTES_MIN: usize = 32;
/// About how many compressed bytes an operation costs.
const OP_COST: usize = 6;
/// What is this short is patched if a patch has nothing more to say than copies.
const PATCHED_BYTES: usize = 64 * 1024;
/// What is this short is not worth a look at an old file.
const SHORT_BYTES: usize = 200;

/// A file, in the form in which it travels.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) header: FileHeader,
    pub(super) content_bytes: u64,
    pub(super) form: Form,
}

#[derive(Debug)]
pub(super) enum Form {
    /// The content, and what it is.
    Whole(Vec<u8>, Nature),
    /// Copies of an old file, and new bytes between.
    Copies {
        old: Checksum,
        rolls: Vec<Roll>,
        fresh: Vec<u8>,
    },
    /// A patch of an old file.
    Patch { old: Checksum, patch: Vec<u8> },
}

/// A piece of a file made of copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Roll {
    /// So many bytes of the old file, from there.
    Old(usize, usize),
    /// So many of the new bytes.
    Fresh(usize),
}

/// Reads the content of a file whole. **Blocking.**
pub(super) fn read(mut content: ContentReader) -> Result<Vec<u8>> {
    let length = usize::try_from(content.content_bytes()).unwrap_or(0);
    let mut bytes = Vec::with_capacity(length);
    content
        .read_to_end(&mut bytes)
        .map_err(|e| from_read("cannot be read", e))?;
    Ok(bytes)
}

/// Whether patches may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patches {
    Allowed,
    Forbidden,
}

/// Chooses a form for the content `new`. **Blocking.**
pub(super) fn choose(
    codec: &dyn Codec,
    new: Vec<u8>,
    olds: &[(Checksum, Vec<u8>)],
    patches: Patches,
) -> Result<Form> {
    if new.len() <= SHORT_BYTES || olds.is_empty() {
        return whole(codec, new);
    }
    let mut best: Option<(usize, Form)> = None;
    for (old_name, old) in olds {
        let stretches = diff(old, &new);
        let (patch, unlike) = patch(old, &new, &stretches);
        let (rolls, fresh) = copies(old, &new, &stretches);
        let mut offer = |cost: usize, form: Form| {
            if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                best = Some((cost, form));
            }
        };
        // Hardly anything is left of the old file: no measuring is needed.
        if unlike > new.len() / 20 * 19 {
            continue;
        }
        let ops = rolls.len() * OP_COST + 8;
        let patched = match patches {
            Patches::Allowed => deflated(codec, &patch)? + 4,
            Patches::Forbidden => usize::MAX,
        };
        // Fresh bytes of copies hold all that is not zero in the patch: they can only cost as much.
        // Runs of zeros cost hardly anything in xz, but do in this measure; and one operation is
        // better than several.
        let is_simple = new.len() <= PATCHED_BYTES && unlike <= fresh.len();
        if ops < patched && !(is_simple && patches == Patches::Allowed) {
            let old = *old_name;
            let cost = ops + deflated(codec, &fresh)?;
            offer(cost, Form::Copies { old, rolls, fresh });
        }
        let old = *old_name;
        offer(patched, Form::Patch { old, patch });
    }
    match best {
        Some((cost, form)) if cost < new.len() / 8 || cost < deflated(codec, &new)? => Ok(form),
        _ => whole(codec, new),
    }
}

fn whole(codec: &dyn Codec, new: Vec<u8>) -> Result<Form> {
    let nature = nature(codec, &new)?;
    Ok(Form::Whole(new, nature))
}

/// Writes a patch, and counts the bytes of it that are neither zero nor of its frame.
fn patch(old: &[u8], new: &[u8], stretches: &[Stretch]) -> (Vec<u8>, usize) {
    let mut patch = Vec::with_capacity(new.len() + 24 * stretches.len());
    let (mut at, mut unlike) = (0, 0);
    // A patch begins at the start of the old file: a step that adds nothing goes elsewhere.
    if let Some(first) = stretches.first().filter(|first| first.old != 0) {
        let seek = i64::try_from(first.old).unwrap_or(0);
        let step = PatchStep {
            diff_bytes: 0,
            extra_bytes: 0,
            seek,
        };
        write_patch_step(&step, &mut patch);
    }
    for (number, stretch) in stretches.iter().enumerate() {
        let end = stretch.old + stretch.alike;
        let next = stretches.get(number + 1).map_or(end, |next| next.old);
        let offset = |n: usize| i64::try_from(n).unwrap_or(0);
        let step = PatchStep {
            diff_bytes: stretch.alike as u64,
            extra_bytes: stretch.fresh as u64,
            seek: offset(next) - offset(end),
        };
        write_patch_step(&step, &mut patch);
        let pairs = new[at..at + stretch.alike].iter().zip(&old[stretch.old..]);
        for (new, old) in pairs {
            let difference = new.wrapping_sub(*old);
            unlike += usize::from(difference != 0);
            patch.push(difference);
        }
        at += stretch.alike;
        patch.extend_from_slice(&new[at..at + stretch.fresh]);
        at += stretch.fresh;
        unlike += stretch.fresh;
    }
    (patch, unlike)
}

/// Describes a file as copies of an old one and new bytes between.
fn copies(old: &[u8], new: &[u8], stretches: &[Stretch]) -> (Vec<Roll>, Vec<u8>) {
    let mut rolls = Rolls::default();
    let mut at = 0;
    for stretch in stretches {
        let (mut done, alike) = (0, stretch.alike);
        while done < alike {
            let a = &new[at + done..at + alike];
            let b = &old[stretch.old + done..stretch.old + alike];
            let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
            if same >= COPY_BYTES_MIN || (same == alike && same > 0) {
                rolls.old(stretch.old + done, same);
                done += same;
                continue;
            }
            let other = a[same..].iter().zip(&b[same..]);
            let other = other.take_while(|(a, b)| a != b).count();
            rolls.fresh(&a[..same + other]);
            done += same + other;
        }
        at += alike;
        rolls.fresh(&new[at..at + stretch.fresh]);
        at += stretch.fresh;
    }
    (rolls.list, rolls.bytes)
}

#[derive(Default)]
struct Rolls {
    list: Vec<Roll>,
    bytes: Vec<u8>,
}

impl Rolls {
    fn old(&mut self, at: usize, length: usize) {
        match self.list.last_mut() {
            Some(Roll::Old(start, before)) if *start + *before == at => *before += length,
            _ => self.list.push(Roll::Old(at, length)),
        }
    }

    fn fresh(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.bytes.extend_from_slice(bytes);
        match self.list.last_mut() {
            Some(Roll::Fresh(length)) => *length += bytes.len(),
            _ => self.list.push(Roll::Fresh(bytes.len())),
        }
    }
}

/// Returns how long `bytes` are when they are deflated fast: a measure, not the result.
pub(super) fn deflated(codec: &dyn Codec, bytes: &[u8]) -> Result<usize> {
    let mut deflater = codec.deflater(1);
    let mut out = vec![0; 64 * 1024];
    let (mut at, mut total) = (0, 0);
    loop {
        let step = deflater.step(&bytes[at..], &mut out, Finish::End)?;
        at += step.consumed;
        total += step.produced;
        if step.ended {
            return Ok(total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::FlateCodec;

    fn lines(from: u32, to: u32) -> Vec<u8> {
        let line = |n: u32| format!("{:x} line\n", n.wrapping_mul(2_654_435_761));
        (from..to).map(line).collect::<String>().into_bytes()
    }

    fn of(form: Form, old: &[u8]) -> Vec<u8> {
        match form {
            Form::Whole(bytes, _) => bytes,
            Form::Copies { rolls, fresh, .. } => {
                let (mut made, mut at) = (Vec::new(), 0);
                for roll in rolls {
                    match roll {
                        Roll::Old(from, length) => made.extend(&old[from..from + length]),
                        Roll::Fresh(length) => {
                            made.extend(&fresh[at..at + length]);
                            at += length;
                        }
                    }
                }
                made
            }
            Form::Patch { patch, .. } => {
                let mut made = Vec::new();
                bsdiff::patch(old, &mut &patch[..], &mut made).unwrap();
                made
            }
        }
    }

    #[test]
    fn a_form_makes_the_new_file() {
        let old = lines(0, 5000);
        let name = Checksum::of(&old);
        let mut moved = lines(3000, 5000);
        moved.extend_from_slice(&lines(0, 2900));
        let mut scattered = old.clone();
        scattered
            .iter_mut()
            .step_by(29)
            .for_each(|b| *b = b.wrapping_add(3));
        let scramble = |n: u32| n.wrapping_mul(2_654_435_761).rotate_left(9).to_le_bytes();
        let other: Vec<u8> = (0..9000).flat_map(scramble).collect();
        let cases = [(moved, "copies"), (scattered, "patch"), (other, "whole")];
        for (new, expected) in cases {
            let olds = [(name, old.clone())];
            let form = choose(&FlateCodec, new.clone(), &olds, Patches::Allowed).unwrap();
            let found = match &form {
                Form::Whole(..) => "whole",
                Form::Copies { .. } => "copies",
                Form::Patch { .. } => "patch",
            };
            assert_eq!(found, expected);
            assert!(of(form, &old) == new, "{expected}");
            let form = choose(&FlateCodec, new.clone(), &olds, Patches::Forbidden).unwrap();
            assert!(!matches!(form, Form::Patch { .. }));
            assert!(of(form, &old) == new, "{expected} without patches");
        }
    }
}
