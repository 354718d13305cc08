//! How a summary is printed.

use std::io::Write;

use serde_json::{Value as Json, json};
use treeferry_core::format::gvariant::{Dict, Type, Value};
use treeferry_core::format::{Checksum, Summary, SummaryRef};
use treeferry_core::store::SignedSummary;

use super::commit_text::swapped;
use super::show::list_keys;
use super::size_text::size_text;
use crate::failure::{Failure, Result};
use crate::{dates, json, output};

const COLLECTION_MAP: &str = "ostree.summary.collection-map";

/// What to print of a summary.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Question<'a> {
    /// All, for reading.
    View,
    /// All, for programs.
    Json,
    /// All, as GVariant text.
    Raw,
    /// The keys of its metadata.
    Keys,
    /// The value of one key.
    Key(&'a str),
}

/// Prints a summary, or a part of it.
pub(crate) fn print(summary: &SignedSummary, question: Question<'_>) -> Result<()> {
    if let Question::Raw = question {
        let ty = Type::parse("(a(s(taya{sv}))a{sv})")?;
        let value = swapped(Value::decode(&ty, &summary.summary)?);
        return Ok(output::line(value.print(true))?);
    }
    let summary = Summary::parse(&summary.summary)?;
    match question {
        Question::Keys => list_keys(&summary.metadata),
        Question::Key(key) => {
            let value = summary.metadata.get(key);
            let value =
                value.ok_or_else(|| Failure::new(format!("No such metadata key '{key}'")))?;
            Ok(output::line(value.print(true))?)
        }
        Question::Json => print_json(&summary),
        Question::View | Question::Raw => view(&summary),
    }
}

fn view(summary: &Summary) -> Result<()> {
    let metadata = &summary.metadata;
    let collection = metadata.get("ostree.summary.collection-id");
    let collection = collection.and_then(Value::as_str);
    let mut out = output::stdout();
    for entry in &summary.refs {
        write_ref(&mut out, collection, entry)?;
    }
    for (collection, refs) in collection_map(metadata)? {
        for entry in &refs {
            write_ref(&mut out, Some(&collection), entry)?;
        }
    }
    for (key, value) in metadata.iter() {
        writeln!(out, "{}", metadata_line(key, value))?;
    }
    Ok(out.flush()?)
}

/// Prints each ref, and then the rest. What there is no other form for is GVariant text.
fn print_json(summary: &Summary) -> Result<()> {
    let metadata = &summary.metadata;
    let own = metadata.get("ostree.summary.collection-id");
    let own = own.and_then(Value::as_str).map(str::to_owned);
    let mut all: Vec<(Option<String>, SummaryRef)> = Vec::new();
    all.extend(
        summary
            .refs
            .iter()
            .map(|entry| (own.clone(), entry.clone())),
    );
    for (collection, refs) in collection_map(metadata)? {
        all.extend(
            refs.into_iter()
                .map(|entry| (Some(collection.clone()), entry)),
        );
    }
    let seconds = |value: Option<&Value>| value.and_then(Value::as_u64).map(u64::swap_bytes);
    let mut out = output::stdout();
    for (collection, entry) in all {
        let version = entry.metadata.get("ostree.commit.version");
        let entry = json!({
            "ref": entry.name,
            "collection_id": collection,
            "commit": entry.commit.to_string(),
            "commit_bytes": entry.commit_bytes,
            "timestamp": seconds(entry.metadata.get("ostree.commit.timestamp")),
            "version": version.and_then(Value::as_str),
        });
        json::write(&mut out, &entry)?;
    }
    let rest = metadata.iter().filter(|(key, _)| *key != COLLECTION_MAP);
    let rest = rest.map(|(key, value)| (key.to_owned(), Json::from(value.print(true))));
    let totals = json!({
        "last_modified": seconds(metadata.get("ostree.summary.last-modified")),
        "expires": seconds(metadata.get("ostree.summary.expires")),
        "metadata": rest.collect::<serde_json::Map<_, _>>(),
    });
    json::write(&mut out, &totals)?;
    Ok(out.flush()?)
}

/// Reads the refs of other collections that are mirrored in the repository.
fn collection_map(metadata: &Dict) -> Result<Vec<(String, Vec<SummaryRef>)>> {
    let wrong = || Failure::new(format!("{COLLECTION_MAP}: is not a map of collections"));
    let Some(map) = metadata.get(COLLECTION_MAP) else {
        return Ok(Vec::new());
    };
    let collection = |entry: &Value| {
        let Value::DictEntry(entry) = entry else {
            return None;
        };
        let refs: Option<Vec<_>> = entry.1.as_slice()?.iter().map(summary_ref).collect();
        Some((entry.0.as_str()?.to_owned(), refs?))
    };
    let entries = map.as_slice().ok_or_else(wrong)?;
    let collections: Option<Vec<_>> = entries.iter().map(collection).collect();
    collections.ok_or_else(wrong)
}

fn summary_ref(value: &Value) -> Option<SummaryRef> {
    let [name, Value::Tuple(target)] = members(value)? else {
        return None;
    };
    let [commit_bytes, commit, metadata] = target.as_slice() else {
        return None;
    };
    Some(SummaryRef {
        name: name.as_str()?.to_owned(),
        commit_bytes: commit_bytes.as_u64()?,
        commit: Checksum::from_slice(commit.as_bytes()?).ok()?,
        metadata: Dict::try_from(metadata.clone()).ok()?,
    })
}

fn members(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Tuple(members) => Some(members),
        _ => None,
    }
}

fn write_ref(out: &mut impl Write, collection: Option<&str>, entry: &SummaryRef) -> Result<()> {
    match collection {
        Some(collection) => writeln!(out, "* ({collection}, {})", entry.name)?,
        None => writeln!(out, "* {}", entry.name)?,
    }
    let size = size_text(entry.commit_bytes);
    writeln!(out, "    Latest Commit ({size}):\n      {}", entry.commit)?;
    for (key, value) in entry.metadata.iter() {
        let (title, text) = match key {
            "ostree.commit.version" => ("Version", value.as_str().map(str::to_owned)),
            "ostree.commit.timestamp" => ("Timestamp", Some(date(value))),
            _ => ("", None),
        };
        match text {
            Some(text) => writeln!(out, "    {title} ({key}): {text}")?,
            None => writeln!(out, "    {key}: {}", value.print(false))?,
        }
    }
    Ok(writeln!(out)?)
}

/// Returns a line about one key of the summary's metadata: those that are known by their titles.
fn metadata_line(key: &str, value: &Value) -> String {
    let (title, text) = match (key, value) {
        ("ostree.static-deltas", value) => ("Static Deltas", value.print(false)),
        ("ostree.summary.last-modified", value) => ("Last-Modified", date(value)),
        ("ostree.summary.expires", value) => ("Expires", date(value)),
        ("ostree.summary.mode", Value::Str(mode)) => ("Repository Mode", mode.clone()),
        ("ostree.summary.collection-id", Value::Str(id)) => ("Collection ID", id.clone()),
        (COLLECTION_MAP, _) => ("Collection Map", "(printed above)".to_owned()),
        ("ostree.summary.tombstone-commits", Value::Bool(yes)) => {
            let text = if *yes { "Yes" } else { "No" };
            ("Has Tombstone Commits", text.to_owned())
        }
        _ => return format!("{key}: {}", value.print(false)),
    };
    format!("{title} ({key}): {text}")
}

/// Returns a date as it is stored: seconds since 1970, big-endian.
fn date(value: &Value) -> String {
    match value.as_u64() {
        Some(seconds) => dates::local(seconds.swap_bytes()),
        None => value.print(false),
    }
}
