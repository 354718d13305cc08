//! Real servers of buckets on free ports, and what stands between them and us.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses its own part; a panic is a failed test"
)]

pub(crate) mod google;
pub(crate) mod proxy;

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use treeferry_core::archive::{ArchiveOptions, ArchiveStore, CreateArchive, Spool};
use treeferry_core::transport::Retry;
use treeferry_transport_s3::{BucketOptions, BucketTransport, Credentials, Keys};

const KEY: &str = "TESTKEY";
const SECRET: &str = "testsecret123";
pub(crate) const BUCKET: &str = "trees";

/// A running server. It ends when this process does, however that happens.
pub(crate) struct S3Server {
    _dir: tempfile::TempDir,
    // The shell waits for the end of its input, which is the other end of a pipe of ours.
    _shell: Child,
    pub(crate) port: u16,
}

/// Returns the SeaweedFS of this test process, with an empty bucket, in which all may read.
pub(crate) fn seaweed() -> &'static S3Server {
    static SERVER: OnceLock<S3Server> = OnceLock::new();
    SERVER.get_or_init(|| started(start_seaweed))
}

/// Returns the rclone of this test process: a server that ignores conditions.
pub(crate) fn rclone() -> &'static S3Server {
    static SERVER: OnceLock<S3Server> = OnceLock::new();
    SERVER.get_or_init(|| started(start_rclone))
}

/// Returns the Azurite of this test process, with an empty container, in which all may read.
pub(crate) fn azurite() -> &'static S3Server {
    static SERVER: OnceLock<S3Server> = OnceLock::new();
    SERVER.get_or_init(|| started(start_azurite))
}

/// Returns the gateway of a Ceph of this test process, with an empty bucket, in which all may read.
pub(crate) fn radosgw() -> &'static S3Server {
    static SERVER: OnceLock<S3Server> = OnceLock::new();
    SERVER.get_or_init(|| started(start_radosgw))
}

/// Starts a server again if another process took its port.
fn started(start: fn() -> Option<S3Server>) -> S3Server {
    (0..5)
        .find_map(|_| start())
        .expect("the server does not start")
}

fn start_seaweed() -> Option<S3Server> {
    let dir = tempfile::tempdir().unwrap();
    let identities = format!(
        r#"{{"identities":[{{"name":"t","credentials":[{{"accessKey":"{KEY}","secretKey":"{SECRET}"}}],
        "actions":["Admin","Read","Write","List","Tagging"]}},
        {{"name":"anonymous","actions":["Read:{BUCKET}","List:{BUCKET}"]}}]}}"#
    );
    std::fs::write(dir.path().join("s3.json"), identities).unwrap();
    let ports = free_ports::<8>();
    let [
        master,
        master_rpc,
        volume,
        volume_rpc,
        filer,
        filer_rpc,
        port,
        port_rpc,
    ] = ports;
    let path = dir.path().display();
    let line = format!(
        "/usr/local/bin/weed -logdir={path} mini -dir={path} -ip=127.0.0.1 -ip.bind=127.0.0.1 \
         -admin.ui=false -webdav=false -master.telemetry=false -bucket={BUCKET} \
         -s3.config={path}/s3.json -s3.port.iceberg=0 -s3.port.lance=0 -metricsPort=0 \
         -master.port={master} -master.port.grpc={master_rpc} -volume.port={volume} \
         -volume.port.grpc={volume_rpc} -filer.port={filer} -filer.port.grpc={filer_rpc} \
         -s3.port={port} -s3.port.grpc={port_rpc}"
    );
    start(
        &line,
        dir,
        port,
        &format!("GET /{BUCKET}/ HTTP/1.0\r\n\r\n"),
    )
}

fn start_rclone() -> Option<S3Server> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(BUCKET)).unwrap();
    let [port] = free_ports::<1>();
    let path = dir.path().display();
    let line = format!(
        "/usr/local/bin/rclone serve s3 --addr 127.0.0.1:{port} --auth-key {KEY},{SECRET} {path}"
    );
    start(&line, dir, port, "")
}

fn start_radosgw() -> Option<S3Server> {
    let dir = tempfile::tempdir().unwrap();
    let [monitor, port] = free_ports::<2>();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/radosgw/run");
    let (script, path) = (script.display(), dir.path().display());
    let log = dir.path().join("log");
    let shell = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "exec {script} /usr/local/lib/radosgw {path} {monitor} {port} {KEY} {SECRET} {BUCKET} \
             >{} 2>&1",
            log.display()
        ))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let ready = dir.path().join("ready");
    let mut server = S3Server {
        _dir: dir,
        _shell: shell,
        port,
    };
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(300) {
        if ready.exists() {
            return Some(server);
        }
        if server._shell.try_wait().unwrap().is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    eprintln!("{}", std::fs::read_to_string(&log).unwrap_or_default());
    None
}

/// Permits to make containers of the emulator's account until 2099: signed with the key that all
/// emulators have.
const MAKING_CONTAINERS: &str = "sv=2020-10-02&ss=b&srt=c&sp=c&spr=https%2Chttp&\
    se=2099-01-01T00%3A00%3A00Z&sig=EDf0i1DiWl1ZrFt1uf5wj0Nxz55l%2BqH9xZMCuUPIyMU%3D";

fn start_azurite() -> Option<S3Server> {
    let dir = tempfile::tempdir().unwrap();
    let [port] = free_ports::<1>();
    let line = format!(
        "/usr/local/bin/azurite-blob --blobHost 127.0.0.1 --blobPort {port} --inMemoryPersistence \
         --silent --disableTelemetry"
    );
    let make = format!(
        "PUT /devstoreaccount1/{BUCKET}?restype=container&{MAKING_CONTAINERS} HTTP/1.0\r\n\
         Host: 127.0.0.1\r\nx-ms-blob-public-access: container\r\nContent-Length: 0\r\n\r\n"
    );
    start(&line, dir, port, &make)
}

fn start(line: &str, dir: tempfile::TempDir, port: u16, question: &str) -> Option<S3Server> {
    let log = dir.path().join("log");
    let script = format!(
        "{line} >{} 2>&1 & pid=$!; cat >/dev/null; kill -9 $pid",
        log.display()
    );
    let shell = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let server = S3Server {
        _dir: dir,
        _shell: shell,
        port,
    };
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(180) {
        if answers(port, question) {
            return Some(server);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    eprintln!("{}", std::fs::read_to_string(&log).unwrap_or_default());
    None
}

/// Returns whether a server answers a question well.
fn answers(port: u16, question: &str) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let mut answer = String::new();
    question.is_empty()
        || (stream.write_all(question.as_bytes()).is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && matches!(answer.split(' ').nth(1), Some("200" | "201")))
}

fn free_ports<const N: usize>() -> [u16; N] {
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

/// Returns an address that nobody else in this process uses.
pub(crate) fn fresh_address() -> String {
    fresh_address_of("s3")
}

/// Returns such an address of another kind of bucket.
pub(crate) fn fresh_address_of(scheme: &str) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{scheme}://{BUCKET}/place-{number}/repo")
}

pub(crate) fn options(port: u16) -> BucketOptions {
    let mut options = anonymous(port);
    options.credentials = Credentials::Keys(Keys {
        id: KEY.into(),
        secret: SECRET.into(),
        token: None,
    });
    options
}

/// Returns how the emulator of Azure is spoken to, with its own account.
pub(crate) fn azure_options(port: u16) -> BucketOptions {
    let mut options = anonymous(port).set("azure_storage_use_emulator", "true");
    options.credentials = Credentials::Ambient;
    options
}

pub(crate) fn anonymous(port: u16) -> BucketOptions {
    let mut options = BucketOptions::default();
    options.endpoint = Some(format!("http://127.0.0.1:{port}"));
    options
}

pub(crate) fn archive_options() -> ArchiveOptions {
    static HANDLES: AtomicU64 = AtomicU64::new(0);
    let mut options = ArchiveOptions::default();
    options.lease.seed = HANDLES.fetch_add(1, Ordering::Relaxed);
    options.spool = Spool::in_files(tempfile::tempfile);
    options.retry = Retry {
        retries: 8,
        wait: Duration::from_millis(20),
        ..Retry::default()
    };
    options
}

/// Opens the repository at `address`, and makes it if there is none.
pub(crate) async fn open_archive(address: &str, port: u16) -> ArchiveStore {
    let transport = BucketTransport::open_for_writing(address, options(port))
        .await
        .unwrap();
    let create = CreateArchive::default();
    ArchiveStore::create(Arc::new(transport), create, archive_options())
        .await
        .unwrap()
}

/// Runs the C implementation.
pub(crate) fn ostree(repo: &Path, arguments: &[&str]) -> String {
    let output = Command::new("/usr/bin/ostree")
        .arg(format!("--repo={}", repo.display()))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ostree {arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
