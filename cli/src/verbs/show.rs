//! `show`: one object, or what its metadata says.

use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use treeferry_core::format::gvariant::{Dict, Type, Value};
use treeferry_core::format::{
    Checksum, Commit, FileHeader, ObjectName, ObjectType, RemoteName, SIZES_KEY, read_sizes,
};
use treeferry_core::pool::Pool;
use treeferry_core::repo::{Repo, load_metadata};
use treeferry_core::sign::{Scheme, Signatures, signatures_in};
use treeferry_core::store::{Body, Incoming};
use treeferry_core_openpgp::{KeyringPlaces, read_keyrings};

use super::commit_text::{Form, commit_of, swapped, variant_text, write_commit};
use super::size_text::size_text;
use crate::failure::{Failure, Result};
use crate::gpg::{self, signatures_text};
use crate::place::Opened;
use crate::session::{Session, no_such_object, remote_config, resolve};
use crate::{file_text, json, output, trust};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print the commits that this one names as related
    #[arg(long)]
    print_related: bool,
    /// Print OBJECT, in this case a file, as a GVariant of that type
    #[arg(long, value_name = "TYPE")]
    print_variant_type: Option<String>,
    /// Print which keys the commit has
    #[arg(long)]
    list_metadata_keys: bool,
    /// Print what the commit has under KEY
    #[arg(long, value_name = "KEY")]
    print_metadata_key: Option<String>,
    /// Print it, if it is bytes, as hexadecimal digits
    #[arg(long)]
    print_hex: bool,
    /// Print which keys there are beside the commit
    #[arg(long)]
    list_detached_metadata_keys: bool,
    /// Print what is under KEY beside the commit
    #[arg(long, value_name = "KEY")]
    print_detached_metadata_key: Option<String>,
    /// Print how many objects and bytes it takes, as recorded in it
    #[arg(long)]
    print_sizes: bool,
    /// Look for keys of OpenPGP in this directory as well
    #[arg(long, value_name = "HOMEDIR")]
    gpg_homedir: Option<PathBuf>,
    /// Judge signatures of OpenPGP by the keys of this remote
    #[arg(long, value_name = "REMOTE")]
    gpg_verify_remote: Option<String>,
    /// Print the object as GVariant text
    #[arg(long)]
    raw: bool,
    /// Print numbers as they are stored, most significant byte first
    #[arg(short = 'B', long)]
    no_byteswap: bool,
    /// Print JSON, of a commit
    #[arg(long)]
    json: bool,
    /// A ref, a checksum or its beginning; or a file, with --print-variant-type
    #[arg(value_name = "OBJECT")]
    object: Option<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let Some(object) = &args.object else {
        return Err(Failure::usage("An object argument is required"));
    };
    if let Some(ty) = &args.print_variant_type {
        return print_file(Path::new(object), ty);
    }
    let opened = session.open_place().await?;
    let repo = opened.repo.clone();
    let hex = args.print_hex;
    if let Some(key) = &args.print_metadata_key {
        let metadata = commit_metadata(&repo, object).await?;
        let swap = match args.no_byteswap {
            true => Swap::No,
            false => Swap::Yes,
        };
        return print_key(&metadata, key, hex, swap);
    }
    if args.list_metadata_keys {
        return list_keys(&commit_metadata(&repo, object).await?);
    }
    if let Some(key) = &args.print_detached_metadata_key {
        let metadata = detached_metadata(&repo, object).await?;
        return print_key(&metadata, key, hex, Swap::No);
    }
    if args.list_detached_metadata_keys {
        return list_keys(&detached_metadata(&repo, object).await?);
    }
    if args.print_related {
        return print_related(&repo, object).await;
    }
    if args.print_sizes {
        return print_sizes(&repo, object).await;
    }
    if args.json {
        let (checksum, commit) = load_commit(&repo, object).await?;
        return json::line(&json::of_commit(&checksum, &commit));
    }
    let form = match (args.no_byteswap, args.raw) {
        (true, _) => Form::Stored,
        (false, true) => Form::Raw,
        (false, false) => Form::Text,
    };
    let commit = print_object(&repo, object, form).await?;
    match (commit, form) {
        (Some(commit), Form::Text | Form::Stored) => signatures(&args, &opened, commit).await,
        _ => Ok(()),
    }
}

/// Prints what becomes of the OpenPGP signatures of a commit, if it has any.
async fn signatures(
    args: &Args,
    opened: &Opened,
    (commit, bytes): (Checksum, Bytes),
) -> Result<()> {
    let Some(detached) = opened.repo.state().read_detached(&commit).await? else {
        return Ok(());
    };
    let metadata = Dict::decode(&detached)?;
    if signatures_in(&metadata, Scheme::OpenPgp) == Signatures::None {
        return Ok(());
    }
    let mut keyring = match &args.gpg_verify_remote {
        Some(name) => {
            let remote = remote_config(opened, &RemoteName::new(name)?).await?;
            trust::keyring_of(opened, &remote).await?
        }
        None => trust::all_keyrings(opened).await?,
    };
    if let Some(home) = &args.gpg_homedir {
        keyring.add(read_keyrings(&KeyringPlaces(vec![home.clone()]))?);
    }
    let verdict = gpg::verify_now(keyring, &bytes, &metadata);
    let mut out = output::stdout();
    writeln!(out, "Found {}", signatures_text(&verdict))?;
    Ok(out.flush()?)
}

fn print_file(path: &Path, ty: &str) -> Result<()> {
    let bytes = file_text::read(path)?;
    let ty = Type::parse(ty).map_err(|e| Failure::from(e).context("--print-variant-type"))?;
    let value = Value::decode(&ty, &bytes)
        .map_err(|e| Failure::from(e).context(PathBuf::from(path).display()))?;
    Ok(output::line(swapped(value).print(true))?)
}

async fn load_commit(repo: &Repo, rev: &str) -> Result<(Checksum, Commit)> {
    let checksum = resolve(repo, rev).await?;
    let name = ObjectName::commit(checksum);
    let bytes = load_metadata(&**repo.objects(), &name).await?;
    let bytes = bytes.ok_or_else(|| no_such_object(&name))?;
    Ok((checksum, commit_of(&name, &bytes)?))
}

async fn commit_metadata(repo: &Repo, rev: &str) -> Result<Dict> {
    Ok(load_commit(repo, rev).await?.1.metadata)
}

async fn detached_metadata(repo: &Repo, rev: &str) -> Result<Dict> {
    let checksum = resolve(repo, rev).await?;
    let bytes = repo.state().read_detached(&checksum).await?;
    let bytes =
        bytes.ok_or_else(|| Failure::new(format!("No detached metadata for commit {checksum}")))?;
    Ok(Dict::decode(&bytes)?)
}

/// Whether numbers are swapped before they are printed, as OSTree does with what commits hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Swap {
    Yes,
    No,
}

fn print_key(metadata: &Dict, key: &str, hex: bool, swap: Swap) -> Result<()> {
    let value = metadata
        .get(key)
        .ok_or_else(|| Failure::new(format!("No such metadata key '{key}'")))?;
    let text = match (hex, value.as_bytes()) {
        (true, Some(bytes)) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        _ if swap == Swap::Yes => swapped(value.clone()).print(true),
        _ => value.print(true),
    };
    Ok(output::line(text)?)
}

/// Prints the keys of a dictionary, sorted.
pub(crate) fn list_keys(metadata: &Dict) -> Result<()> {
    let mut keys: Vec<_> = metadata.iter().map(|(key, _)| key).collect();
    keys.sort_unstable();
    let mut out = output::stdout();
    for key in keys {
        writeln!(out, "{key}")?;
    }
    Ok(out.flush()?)
}

async fn print_related(repo: &Repo, rev: &str) -> Result<()> {
    let (_, commit) = load_commit(repo, rev).await?;
    let mut out = output::stdout();
    for (name, checksum) in &commit.related {
        writeln!(out, "{name} {checksum}")?;
    }
    Ok(out.flush()?)
}

async fn print_sizes(repo: &Repo, rev: &str) -> Result<()> {
    let (_, commit) = load_commit(repo, rev).await?;
    let sizes = read_sizes(&commit.metadata)?
        .ok_or_else(|| Failure::new(format!("No metadata key {SIZES_KEY} in commit")))?;
    // Old commits do not say of what kind an object is.
    let names: Vec<_> = sizes
        .iter()
        .map(|size| ObjectName::new(size.object_type.unwrap_or(ObjectType::File), size.checksum))
        .collect();
    let there = repo.objects().stat(&names).await?;
    let (mut packed, mut unpacked, mut objects) = ([0_u64; 2], [0_u64; 2], [0_u64; 2]);
    for (size, there) in sizes.iter().zip(there) {
        let needed = u64::from(there.is_none());
        for (sum, factor) in [(0, needed), (1, 1)] {
            packed[sum] = packed[sum].saturating_add(size.archived_bytes * factor);
            unpacked[sum] = unpacked[sum].saturating_add(size.unpacked_bytes * factor);
            objects[sum] += factor;
        }
    }
    let both = |[needed, total]: [u64; 2]| format!("{}/{}", size_text(needed), size_text(total));
    let mut out = output::stdout();
    writeln!(out, "Compressed size (needed/total): {}", both(packed))?;
    writeln!(out, "Unpacked size (needed/total): {}", both(unpacked))?;
    let [needed, total] = objects;
    writeln!(out, "Number of objects (needed/total): {needed}/{total}")?;
    Ok(out.flush()?)
}

/// Prints a commit; of a full checksum, whatever object has it. Returns the commit if it is one.
async fn print_object(repo: &Repo, object: &str, form: Form) -> Result<Option<(Checksum, Bytes)>> {
    let checksum = resolve(repo, object).await?;
    let mut out = output::stdout();
    for object_type in [ObjectType::Commit, ObjectType::DirMeta, ObjectType::DirTree] {
        let name = ObjectName::new(object_type, checksum);
        let Some(bytes) = load_metadata(&**repo.objects(), &name).await? else {
            continue;
        };
        if object_type == ObjectType::Commit {
            let commit = commit_of(&name, &bytes)?;
            write_commit(&mut out, &name, &commit, &bytes, form)?;
        } else {
            writeln!(out, "{object_type} {checksum}")?;
            if form != Form::Text {
                writeln!(out, "{}", variant_text(object_type, &bytes, form)?)?;
            }
        }
        out.flush()?;
        return Ok((object_type == ObjectType::Commit).then_some((checksum, bytes)));
    }
    let (header, bytes) = file_header(repo, checksum).await?;
    let (kind, detail) = match header.is_symlink() {
        true => ("symlink", format!("Target: {}", header.symlink_target)),
        false => ("regular", format!("Size: {bytes}")),
    };
    let xattrs = super::xattr_text::xattr_text(&header.xattrs)?;
    writeln!(out, "Object: {checksum}\nType: file\nFile Type: {kind}")?;
    writeln!(out, "{detail}\nMode: 0{:04o}", header.mode)?;
    writeln!(out, "Uid: {}\nGid: {}", header.uid, header.gid)?;
    writeln!(out, "Extended Attributes: {{ {xattrs} }}")?;
    out.flush()?;
    Ok(None)
}

async fn file_header(repo: &Repo, checksum: Checksum) -> Result<(FileHeader, u64)> {
    let name = ObjectName::file(checksum);
    let body = repo.objects().fetch(&name).await?;
    let body = body.ok_or_else(|| {
        let message = format!("Couldn't find file object '{checksum}'");
        Failure::new(message).context(format_args!("Opening content object {checksum}"))
    })?;
    header_of(repo, name, body).await
}

/// Returns the header of a file, and the length of its content in bytes.
async fn header_of(repo: &Repo, name: ObjectName, body: Body) -> Result<(FileHeader, u64)> {
    if let Body::File {
        header,
        content_bytes,
        ..
    } = body
    {
        return Ok((header, content_bytes));
    }
    let codec = repo.codec().clone();
    let pool: &Pool = repo.pool();
    let read = pool.run(move || {
        let reader = Incoming::named(name, body).into_content(&*codec)?;
        Ok((reader.header().clone(), reader.content_bytes()))
    });
    Ok(read.await?)
}
