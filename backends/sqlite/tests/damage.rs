//! Files that are damaged, or something else. The answer is an error that names the file.

mod common;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use futures::TryStreamExt;
use rusqlite::Connection;
use treeferry_backend_sqlite::{CreateOptions, OpenOptions, SqliteRepo};
use treeferry_conformance::samples::Sample;
use treeferry_core::format::ObjectType;
use treeferry_core::store::{
    BatchOptions, ExpectedRef, Listed, ObjectSource, ObjectStore, RefSpace, RefStore, RefUpdate,
    RepoState,
};
use treeferry_core::{Error, ErrorKind};

use common::OneFile;
use common::work::{commit_of, generation, local, verify};

fn impatient() -> OpenOptions {
    OpenOptions {
        busy_wait: Duration::from_millis(200),
        ..common::options()
    }
}

/// Makes a file with a generation of objects and a ref, closed by all.
async fn filled() -> OneFile {
    let place = OneFile::new();
    let repo = place.create().await;
    let batch = repo
        .begin(BatchOptions::default())
        .await
        .expect("a batch begins");
    let incoming = generation("main", 0).iter().map(Sample::incoming).collect();
    for put in batch.put(incoming).await {
        put.expect("an object is taken");
    }
    batch.commit().await.expect("a batch is committed");
    let (name, expected) = (local("main"), ExpectedRef::Absent);
    let new = Some(commit_of("main", 0));
    repo.update_refs(&[RefUpdate {
        name,
        expected,
        new,
    }])
    .await
    .expect("a ref moves");
    repo.close().await.expect("it closes");
    let log = place.path().with_extension("sqlite-wal");
    assert!(
        !log.exists(),
        "the log is written back when the last handle is closed"
    );
    place
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(path).expect("it opens");
    file.write_all_at(bytes, offset).expect("it is written");
}

async fn refused(path: &Path) -> Error {
    let error = SqliteRepo::open(path, impatient())
        .await
        .expect_err("it is refused");
    let text = error.to_string();
    assert!(
        text.contains("repo.sqlite"),
        "it does not name the file: {text}"
    );
    error
}

async fn refused_as(path: &Path, kind: ErrorKind) {
    let error = refused(path).await;
    assert_eq!(error.kind(), kind, "{error}");
}

#[tokio::test]
async fn a_missing_file_is_missing() {
    let place = OneFile::new();
    refused_as(&place.path(), ErrorKind::Missing).await;
    assert!(!place.path().exists(), "opening made it");
}

#[tokio::test]
async fn a_damaged_header_is_corrupt() {
    let place = filled().await;
    overwrite(&place.path(), 0, b"not the header..");
    refused_as(&place.path(), ErrorKind::Corrupt).await;
}

#[tokio::test]
async fn a_text_file_is_corrupt_and_left_alone() {
    let place = OneFile::new();
    let text = "a shopping list\n".repeat(100);
    fs::write(place.path(), &text).expect("it is written");
    refused_as(&place.path(), ErrorKind::Corrupt).await;
    let created = SqliteRepo::create(place.path(), CreateOptions::default()).await;
    assert_eq!(
        created.expect_err("it is refused").kind(),
        ErrorKind::Corrupt
    );
    assert_eq!(fs::read_to_string(place.path()).expect("it is read"), text);
}

#[tokio::test]
async fn an_empty_file_is_no_repository_until_it_is_made_one() {
    let place = OneFile::new();
    fs::write(place.path(), "").expect("it is written");
    refused_as(&place.path(), ErrorKind::Invalid).await;
    place.create().await;
    SqliteRepo::open(place.path(), impatient())
        .await
        .expect("it opens");
}

#[tokio::test]
async fn another_applications_database_is_refused_and_left_alone() {
    let place = OneFile::new();
    let other = Connection::open(place.path()).expect("it opens");
    other
        .execute_batch("CREATE TABLE recipe (name TEXT)")
        .expect("a table is made");
    drop(other);
    refused_as(&place.path(), ErrorKind::Invalid).await;
    let created = SqliteRepo::create(place.path(), CreateOptions::default()).await;
    assert_eq!(
        created.expect_err("it is refused").kind(),
        ErrorKind::Invalid
    );
    let other = Connection::open(place.path()).expect("it opens");
    let tables = "SELECT group_concat(name) FROM sqlite_schema";
    let tables: String = other
        .query_row(tables, [], |row| row.get(0))
        .expect("it counts");
    assert_eq!(tables, "recipe");
}

#[tokio::test]
async fn a_wrong_application_id_is_refused() {
    let place = filled().await;
    let database = Connection::open(place.path()).expect("it opens");
    database
        .pragma_update(None, "application_id", 7)
        .expect("it is set");
    drop(database);
    refused_as(&place.path(), ErrorKind::Invalid).await;
}

#[tokio::test]
async fn a_newer_version_is_refused_by_number() {
    let place = filled().await;
    let database = Connection::open(place.path()).expect("it opens");
    database
        .pragma_update(None, "user_version", 99)
        .expect("it is set");
    drop(database);
    let error = refused(&place.path()).await;
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("version 99"), "{error}");
}

#[tokio::test]
async fn a_planted_trigger_is_refused() {
    let place = filled().await;
    let database = Connection::open(place.path()).expect("it opens");
    let trigger = "CREATE TRIGGER staged AFTER INSERT ON ref BEGIN DELETE FROM object; END";
    database.execute_batch(trigger).expect("a trigger is made");
    drop(database);
    refused_as(&place.path(), ErrorKind::Corrupt).await;
}

#[tokio::test]
async fn a_file_cut_short_is_corrupt() {
    let place = filled().await;
    let whole = fs::read(place.path()).expect("it is read");
    for length in [
        whole.len() - 8192,
        whole.len() / 2,
        20_000,
        8192,
        4000,
        100,
        17,
    ] {
        fs::write(place.path(), &whole[..length]).expect("it is written");
        match SqliteRepo::open(place.path(), impatient()).await {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{length} bytes: {error}"),
            Ok(repo) => {
                let error = repo.check_file().await.expect_err("it is found out");
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{length} bytes: {error}");
            }
        }
    }
}

/// Reads all there is, verified, and returns how many objects were whole.
async fn read_all(repo: &SqliteRepo) -> Result<usize, Error> {
    let mut whole = 0;
    for kind in ObjectType::ALL {
        let listed: Vec<Listed> = repo.list(kind).try_collect().await?;
        for entry in listed {
            if let Some(body) = repo.fetch(&entry.name).await? {
                verify(entry.name, body).await?;
                whole += 1;
            }
        }
    }
    repo.list_refs(&RefSpace::All).await?;
    repo.read_config().await?;
    repo.list_partial().await?;
    Ok(whole)
}

#[tokio::test]
async fn a_chunk_that_is_gone_is_corrupt_and_names_object_and_file() {
    for change in [
        "DELETE FROM chunk WHERE position = 1",
        "DELETE FROM chunk WHERE position = 0",
        "UPDATE chunk SET bytes = x'' WHERE position = 1",
        "UPDATE chunk SET bytes = CAST(bytes || x'00' AS BLOB) WHERE position = 3",
        "UPDATE object SET stored_bytes = stored_bytes - 1",
        "UPDATE object SET stored_bytes = stored_bytes + 1",
    ] {
        let place = filled().await;
        let database = Connection::open(place.path()).expect("it opens");
        let changed = database.execute(change, []).expect("it is changed");
        assert!(changed > 0, "{change}");
        drop(database);
        let repo = SqliteRepo::open(place.path(), impatient())
            .await
            .expect("it opens");
        let error = read_all(&repo).await.expect_err(change);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{change}: {error}");
        let text = error.to_string();
        assert!(
            text.contains("object ") && text.contains("repo.sqlite"),
            "{change}: {text}"
        );
    }
}

#[tokio::test]
async fn changed_bytes_are_never_taken_for_the_object() {
    let place = filled().await;
    let database = Connection::open(place.path()).expect("it opens");
    let change = "UPDATE chunk SET bytes = zeroblob(length(bytes))";
    database.execute(change, []).expect("it is changed");
    drop(database);
    let repo = SqliteRepo::open(place.path(), impatient())
        .await
        .expect("it opens");
    for sample in generation("main", 0) {
        let body = repo
            .fetch(&sample.name)
            .await
            .expect("it is fetched")
            .expect("it is there");
        let error = verify(sample.name, body)
            .await
            .expect_err("it is found out");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

#[tokio::test]
async fn flipped_bits_never_panic() {
    let place = filled().await;
    let whole = fs::read(place.path()).expect("it is read");
    let mut state = 1_u64;
    let mut next = move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let (mut opened, mut refused) = (0, 0);
    for round in 0..150 {
        let mut damaged = whole.clone();
        for _ in 0..1 + round % 8 {
            // Half of it where it hurts: the header and the first pages, which hold the tables.
            let range = if round % 2 == 0 { 4096 } else { damaged.len() };
            let at = next(range);
            damaged[at] ^= 1 << next(8);
        }
        for beside in ["sqlite-wal", "sqlite-shm"] {
            let _ = fs::remove_file(place.path().with_extension(beside));
        }
        fs::write(place.path(), &damaged).expect("it is written");
        let read = async {
            let repo = SqliteRepo::open(place.path(), impatient()).await?;
            read_all(&repo).await
        };
        match read.await {
            Ok(_) => opened += 1,
            Err(error) => {
                assert!(!error.to_string().is_empty(), "round {round}");
                refused += 1;
            }
        }
    }
    println!("{opened} read, {refused} refused");
    assert!(refused > 0, "no damage was ever noticed");
}
