//! How a metadata object is printed: a commit for reading, any as the text of its GVariant.

use std::io::Write;

use treeferry_core::format::gvariant::{Type, Value};
use treeferry_core::format::{Commit, ObjectName, ObjectType};

use crate::dates;
use crate::failure::{Failure, Result};

/// How to print an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// For reading.
    Text,
    /// As GVariant text, with numbers swapped from big-endian.
    Raw,
    /// As GVariant text with numbers as they are stored, then for reading.
    Stored,
}

/// Parses a commit, and says which one if it cannot.
pub(crate) fn commit_of(name: &ObjectName, bytes: &[u8]) -> Result<Commit> {
    Commit::parse(bytes).map_err(|e| Failure::from(e).context(name))
}

/// Prints a commit, with an empty line after it.
pub(crate) fn write_commit(
    out: &mut impl Write,
    name: &ObjectName,
    commit: &Commit,
    bytes: &[u8],
    form: Form,
) -> Result<()> {
    writeln!(out, "commit {}", name.checksum)?;
    if form != Form::Text {
        writeln!(out, "{}", variant_text(name.object_type, bytes, form)?)?;
    }
    if form != Form::Raw {
        write_for_reading(out, commit)?;
    }
    Ok(())
}

fn write_for_reading(out: &mut impl Write, commit: &Commit) -> Result<()> {
    if let Some(parent) = &commit.parent {
        writeln!(out, "Parent:  {parent}")?;
    }
    writeln!(out, "ContentChecksum:  {}", commit.content_checksum())?;
    writeln!(out, "Date:  {}", dates::utc(commit.timestamp))?;
    if let Some(version) = commit.version() {
        writeln!(out, "Version: {version}")?;
    }
    match commit.subject.is_empty() {
        true => writeln!(out, "(no subject)")?,
        false => {
            writeln!(out)?;
            write_indented(out, &commit.subject)?;
        }
    }
    if !commit.body.is_empty() {
        writeln!(out)?;
        write_indented(out, &commit.body)?;
    }
    Ok(writeln!(out)?)
}

fn write_indented(out: &mut impl Write, text: &str) -> Result<()> {
    // The end of the last line starts no other.
    let text = text.strip_suffix('\n').unwrap_or(text);
    for line in text.split('\n') {
        writeln!(out, "    {line}")?;
    }
    Ok(())
}

/// Returns the GVariant type of a metadata object.
fn type_of(object_type: ObjectType) -> Result<Type> {
    Ok(Type::parse(match object_type {
        ObjectType::Commit => "(a{sv}aya(say)sstayay)",
        ObjectType::DirTree => "(a(say)a(sayay))",
        ObjectType::DirMeta => "(uuua(ayay))",
        ObjectType::FileXattrs => "a(ayay)",
        ObjectType::File => return Err(Failure::new("a file has no text")),
    })?)
}

/// Returns the text of a metadata object.
pub(crate) fn variant_text(object_type: ObjectType, bytes: &[u8], form: Form) -> Result<String> {
    let value = Value::decode(&type_of(object_type)?, bytes)?;
    Ok(match form {
        Form::Stored => value.print(true),
        _ => swapped(value).print(true),
    })
}

/// Swaps the bytes of every number: OSTree stores its own numbers big-endian, and its `--raw` swaps
/// all that it meets, those in metadata included.
pub(crate) fn swapped(value: Value) -> Value {
    let each = |values: Vec<Value>| values.into_iter().map(swapped).collect();
    match value {
        Value::I16(n) => Value::I16(n.swap_bytes()),
        Value::U16(n) => Value::U16(n.swap_bytes()),
        Value::I32(n) => Value::I32(n.swap_bytes()),
        Value::U32(n) => Value::U32(n.swap_bytes()),
        Value::I64(n) => Value::I64(n.swap_bytes()),
        Value::U64(n) => Value::U64(n.swap_bytes()),
        Value::Handle(n) => Value::Handle(n.swap_bytes()),
        Value::Double(n) => Value::Double(f64::from_bits(n.to_bits().swap_bytes())),
        Value::Variant(value) => Value::variant(swapped(*value)),
        Value::Maybe { element, value } => Value::Maybe {
            element,
            value: value.map(|value| Box::new(swapped(*value))),
        },
        Value::Array { element, values } => Value::Array {
            element,
            values: each(values),
        },
        Value::Tuple(values) => Value::Tuple(each(values)),
        Value::DictEntry(entry) => {
            let (key, value) = *entry;
            Value::DictEntry(Box::new((swapped(key), swapped(value))))
        }
        other => other,
    }
}
