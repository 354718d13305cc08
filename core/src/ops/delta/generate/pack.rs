//! Gathers files of a kind in parts, and compresses these.

use std::sync::Arc;

use bytes::Bytes;

use super::encode::{Encoded, Form, Roll};
use super::nature::Nature;
use crate::codec::{XzCodec, XzOptions};
use crate::error::Result;
use crate::format::delta::{Compression, Op, PartBuilder, PartHeader, put_op};
use crate::format::{Checksum, ObjectName};
use crate::pool::Pool;

/// How far back patches are searched for repetitions, bytes. What is found beyond saves a three hundredth, and
/// costs a quarter of the time: the tables of a larger dictionary are not in the processor's caches.
const CHANGES_DICTIONARY_BYTES: u32 = 1 << 20;
/// A repetition of patches that is long enough, bytes: they are mostly long runs of zeros, which cost a hundredth
/// less if longer ones are looked for; more than that takes longer than it is worth.
const CHANGES_LONG_BYTES: u32 = 96;
/// As much of what is dense as processors have at hand: hardly a repetition is found anyway, and searching for
/// none in more than this takes five times as long.
const DENSE_DICTIONARY_BYTES: u32 = 64 << 10;

/// What stands together in a part, because it compresses well together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// All there is.
    Little,
    Metadata,
    Changes,
    Whole(Nature),
}

impl Kind {
    pub(super) fn of(form: &Form) -> Self {
        match form {
            Form::Patch { .. } | Form::Copies { .. } => Self::Changes,
            Form::Whole(_, nature) => Self::Whole(*nature),
        }
    }

    /// Returns how a part of this kind is compressed, where others are as `options` say.
    fn options(self, options: XzOptions) -> XzOptions {
        let dictionary = options.dictionary_bytes;
        match self {
            Self::Little | Self::Metadata | Self::Whole(Nature::Plain) => options,
            Self::Changes => XzOptions {
                dictionary_bytes: dictionary.min(CHANGES_DICTIONARY_BYTES),
                nice_bytes: Some(CHANGES_LONG_BYTES),
                ..options
            },
            Self::Whole(Nature::Code(code)) => XzOptions {
                branches: code.branches(),
                ..options
            },
            Self::Whole(Nature::Dense) => XzOptions {
                level: 0,
                dictionary_bytes: dictionary.min(DENSE_DICTIONARY_BYTES),
                ..options
            },
        }
    }
}

/// An object on its way into a part.
#[derive(Debug)]
pub(super) enum Item {
    Metadata(ObjectName, Bytes),
    File(ObjectName, Encoded),
}

impl Item {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Metadata(..) => Kind::Metadata,
            Self::File(_, file) => Kind::of(&file.form),
        }
    }

    /// Returns how many bytes of a part it takes, besides operations.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Metadata(_, bytes) => bytes.len(),
            Self::File(_, file) => match &file.form {
                Form::Whole(bytes, _) => bytes.len(),
                Form::Copies { fresh, .. } => fresh.len(),
                Form::Patch { patch, .. } => patch.len(),
            },
        }
    }
}

/// A part that is being filled.
#[derive(Debug)]
pub(super) struct Filling {
    kind: Kind,
    builder: PartBuilder,
    objects: Vec<ObjectName>,
    unpacked_bytes: u64,
}

/// A part that is done.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) number: usize,
    pub(super) header: PartHeader,
    pub(super) file: Bytes,
}

impl Filling {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            builder: PartBuilder::default(),
            objects: Vec::new(),
            unpacked_bytes: 0,
        }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.builder.heap.len()
    }

    pub(super) fn add(&mut self, item: Item) {
        match item {
            Item::Metadata(name, bytes) => self.add_metadata(name, &bytes),
            Item::File(name, file) => self.add_file(name, &file),
        }
    }

    fn add_metadata(&mut self, name: ObjectName, bytes: &[u8]) {
        let offset = self.builder.put(bytes);
        let length = bytes.len() as u64;
        put_op(
            &mut self.builder.ops,
            &Op::SpliceMetadata { length, offset },
        );
        self.objects.push(name);
        self.unpacked_bytes += length;
    }

    fn add_file(&mut self, name: ObjectName, file: &Encoded) {
        let builder = &mut self.builder;
        let mode = builder.mode(&file.header);
        let xattrs = builder.xattrs(&file.header);
        let length = file.content_bytes;
        let open = Op::Open {
            mode,
            xattrs,
            length,
        };
        match &file.form {
            Form::Whole(bytes, _) => {
                let offset = builder.put(bytes);
                let length = bytes.len() as u64;
                let splice = Op::SpliceFile {
                    mode,
                    xattrs,
                    length,
                    offset,
                };
                put_op(&mut builder.ops, &splice);
            }
            Form::Patch { old, patch } => {
                put_op(&mut builder.ops, &open);
                set_old(builder, old);
                let offset = builder.put(patch);
                let length = patch.len() as u64;
                put_op(&mut builder.ops, &Op::BsPatch { offset, length });
                put_op(&mut builder.ops, &Op::UnsetReadSource);
                put_op(&mut builder.ops, &Op::Close);
            }
            Form::Copies { old, rolls, fresh } => {
                put_op(&mut builder.ops, &open);
                add_copies(builder, old, rolls, fresh);
                put_op(&mut builder.ops, &Op::Close);
            }
        }
        self.objects.push(name);
        self.unpacked_bytes += length;
    }

    /// Compresses the part on the pool.
    pub(super) async fn pack(
        self,
        number: usize,
        pool: Pool,
        xz: Arc<dyn XzCodec>,
        options: XzOptions,
    ) -> Result<Packed> {
        let pack = move || {
            let payload = self.builder.to_bytes();
            // Freed before the encoder takes what it needs.
            drop(self.builder);
            let options = self.kind.options(options.for_input(payload.len()));
            let mut file = xz.encode(&payload, &options)?;
            drop(payload);
            file.insert(0, Compression::Xz.byte());
            let header = PartHeader {
                version: 0,
                checksum: Checksum::of(&file),
                stored_bytes: file.len() as u64,
                unpacked_bytes: self.unpacked_bytes,
                objects: self.objects,
            };
            let file = Bytes::from(file);
            Ok(Packed {
                number,
                header,
                file,
            })
        };
        pool.run(pack).await
    }
}

fn set_old(builder: &mut PartBuilder, old: &Checksum) {
    let offset = builder.put(old.as_bytes());
    put_op(&mut builder.ops, &Op::SetReadSource { offset });
}

fn add_copies(builder: &mut PartBuilder, old: &Checksum, rolls: &[Roll], fresh: &[u8]) {
    let name = builder.put(old.as_bytes());
    let mut fresh_at = builder.put(fresh);
    let mut is_set = false;
    for roll in rolls {
        let reads_old = matches!(roll, Roll::Old(..));
        if reads_old != is_set {
            let op = match reads_old {
                true => Op::SetReadSource { offset: name },
                false => Op::UnsetReadSource,
            };
            put_op(&mut builder.ops, &op);
            is_set = reads_old;
        }
        let (length, offset) = match roll {
            Roll::Old(at, length) => (*length as u64, *at as u64),
            Roll::Fresh(length) => {
                let offset = fresh_at;
                fresh_at += *length as u64;
                (*length as u64, offset)
            }
        };
        put_op(&mut builder.ops, &Op::Write { length, offset });
    }
    if is_set {
        put_op(&mut builder.ops, &Op::UnsetReadSource);
    }
}
