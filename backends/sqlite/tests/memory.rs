//! Memory does not grow with what is stored. Alone in its process, whose peak it measures.

mod common;

use std::io::Read;

use treeferry_conformance::{Holds, samples};
use treeferry_core::codec::FlateCodec;
use treeferry_core::format::ObjectName;
use treeferry_core::store::{BatchOptions, Incoming, ObjectSource, ObjectStore, Payload};

use common::OneFile;

const CONTENT_BYTES: u64 = 64 << 20;
const GROWTH_KIB_MAX: u64 = 24 << 10;

/// Bytes that do not compress, made as they are read.
struct Noise {
    left: u64,
    state: u64,
}

impl Read for Noise {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(out.len());
        for piece in out[..n].chunks_mut(8) {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            piece.copy_from_slice(&self.state.to_le_bytes()[..piece.len()]);
        }
        self.left -= n as u64;
        Ok(n)
    }
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .expect("the peak is told")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_stream_needs_little_memory() {
    let place = OneFile::new();
    let repo = place.create().await;
    let before = peak_kib();
    let noise = Noise {
        left: CONTENT_BYTES,
        state: 88_172_645_463_325_252,
    };
    let header = samples::plain_header(Holds::EVERYTHING);
    let content = Payload::Reader(Box::new(noise));
    let incoming = Incoming::recorded_file(header, CONTENT_BYTES, content);
    let batch = repo
        .begin(BatchOptions::default())
        .await
        .expect("a batch begins");
    let put = batch
        .put(vec![incoming])
        .await
        .pop()
        .expect("it is answered")
        .expect("it is taken");
    batch.commit().await.expect("a batch is committed");
    let written = peak_kib();
    assert_eq!(put.unpacked_bytes, CONTENT_BYTES);
    assert!(
        put.stored_bytes >= CONTENT_BYTES,
        "the noise was compressed"
    );
    let read = read_to_end(&repo, put.name).await;
    assert_eq!(read, CONTENT_BYTES);
    let after = peak_kib();
    println!("peak: {before} KiB before, {written} KiB after writing, {after} KiB after reading");
    assert!(
        after - before < GROWTH_KIB_MAX,
        "the peak grew from {before} to {after} KiB"
    );
}

async fn read_to_end(source: &dyn ObjectSource, name: ObjectName) -> u64 {
    let body = source
        .fetch(&name)
        .await
        .expect("it is fetched")
        .expect("it is there");
    let read = tokio::task::spawn_blocking(move || {
        let mut content = Incoming::named(name, body).into_content(&FlateCodec)?;
        Ok::<_, treeferry_core::Error>(std::io::copy(&mut content, &mut std::io::sink()))
    });
    let copied = read.await.expect("it does not panic").expect("it opens");
    copied.expect("it is whole")
}
