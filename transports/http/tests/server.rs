//! What our server answers, to our client and to hostile ones.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use support::{Served, client, get, path, patient, pattern, raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use treeferry_core::ErrorKind;
use treeferry_core::transport::{FetchOptions, Fetched, Resume, Transport};
use treeferry_transport_http::{Answer, HttpOptions, HttpVersions, ServeOptions, Server, Verdict};

const LARGE: usize = 3_000_000;

fn as_it_is(options: ServeOptions) -> ServeOptions {
    options
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("no answer")
}

fn has(answer: &str, header: &str) -> bool {
    answer
        .to_ascii_lowercase()
        .contains(&header.to_ascii_lowercase())
}

#[tokio::test]
async fn files_small_and_large_come_whole_over_both_versions() {
    let served = Served::start(as_it_is).await;
    for versions in [HttpVersions::Http1, HttpVersions::Http2] {
        let transport = client(&served.url(), patient().versions(versions)).await;
        for len in [0, 1, 65_536, 65_537, 262_144, LARGE] {
            let bytes = pattern(len);
            served.write("refs/heads/müller x", &bytes);
            let (file, got) = get(&transport, "refs/heads/müller x", FetchOptions::default())
                .await
                .unwrap();
            assert!(got == bytes, "{len}");
            assert_eq!((file.offset, file.total_bytes), (0, Some(len as u64)));
            assert!(file.validator.is_some());
        }
        let none = path("refs/heads/none");
        let missing = transport.fetch(&none, FetchOptions::default());
        assert!(missing.await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_transfer_continues_where_it_stopped_unless_the_file_is_another() {
    let served = Served::start(as_it_is).await;
    let transport = client(&served.url(), patient()).await;
    for len in [1000, LARGE] {
        let bytes = pattern(len);
        served.write("x", &bytes);
        let (file, _) = get(&transport, "x", FetchOptions::default()).await.unwrap();
        let resume = |offset| FetchOptions {
            resume: Some(Resume {
                offset,
                validator: file.validator.clone().unwrap(),
            }),
            ..FetchOptions::default()
        };
        for offset in [1, 999, len - 1, len] {
            let (rest, got) = get(&transport, "x", resume(offset as u64)).await.unwrap();
            assert_eq!(
                (rest.offset, rest.total_bytes),
                (offset as u64, Some(len as u64))
            );
            assert!(got == bytes[offset..], "{offset} of {len}");
        }
        let mut other = bytes.clone();
        other[0] ^= 1;
        served.write("x", &other);
        let (whole, got) = get(&transport, "x", resume(500)).await.unwrap();
        assert_eq!(whole.offset, 0);
        assert!(got == other);
    }
}

#[tokio::test]
async fn a_ref_that_moves_is_seen_to_move_however_fast() {
    let served = Served::start(as_it_is).await;
    let transport = client(&served.url(), patient()).await;
    let refs = served.root.path().join("repo/ref");
    let mut last = None;
    for round in 0..200u32 {
        // Replaced by rename within one tick of the clock, same length: only the bytes tell.
        let next = served.root.path().join("next");
        std::fs::write(&next, format!("{round:064}\n")).unwrap();
        std::fs::rename(&next, &refs).unwrap();
        let options = FetchOptions {
            unless: last,
            ..FetchOptions::default()
        };
        let (file, got) = get(&transport, "ref", options).await.unwrap();
        assert_eq!(got, format!("{round:064}\n"));
        last = file.validator;
    }
    let options = FetchOptions {
        unless: last,
        ..FetchOptions::default()
    };
    let answer = transport
        .fetch(&path("ref"), options)
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(answer, Fetched::NotModified));
}

#[tokio::test]
async fn no_path_and_no_link_leads_out() {
    let served = Served::start(as_it_is).await;
    let root = served.root.path();
    std::fs::write(root.join("secret"), "TOP SECRET").unwrap();
    served.write("refs/heads/real", b"inside");
    let repo = root.join("repo");
    symlink("real", repo.join("refs/heads/alias")).unwrap();
    symlink("../refs/heads/real", repo.join("refs/up")).unwrap();
    symlink("../secret", repo.join("out")).unwrap();
    symlink(root.join("secret"), repo.join("absolute")).unwrap();
    symlink("../../repo/refs/heads/real", repo.join("refs/around")).unwrap();
    symlink("/proc/self/root", repo.join("magic")).unwrap();
    symlink("loop", repo.join("loop")).unwrap();
    let fetch = |target: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let addr = served.addr;
        async move { raw(addr, &request).await }
    };
    for target in [
        "/refs/heads/real",
        "/refs/heads/alias",
        "/refs/up",
        "//refs//heads/real",
    ] {
        let answer = fetch(target).await;
        assert_eq!(status(&answer), "200", "{target}");
        assert!(answer.ends_with("inside"), "{target}: {answer}");
    }
    for target in [
        "/out",
        "/absolute",
        "/refs/around",
        "/magic/etc/passwd",
        "/loop",
        "/../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/refs/../../secret",
        "/refs/heads/../real",
        "/",
        "/refs",
        "/refs/heads/real/",
        "/refs/heads/real/x",
        "/%00",
        "/%ff",
    ] {
        let answer = fetch(target).await;
        assert_eq!(status(&answer), "404", "{target}: {answer}");
        assert!(!answer.contains("SECRET"), "{target}");
    }
    let long = fetch(&format!("/{}", "x".repeat(5000))).await;
    assert_eq!(status(&long), "404");
}

#[tokio::test]
async fn what_is_no_regular_file_is_not_there_and_does_not_block() {
    let served = Served::start(as_it_is).await;
    let repo = served.root.path().join("repo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        repo.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(repo.join("socket")).unwrap();
    let transport = client(&served.url(), patient()).await;
    for name in ["pipe", "socket"] {
        let answer = transport
            .fetch(&path(name), FetchOptions::default())
            .await
            .unwrap();
        assert!(answer.is_none(), "{name}");
    }
}

#[tokio::test]
async fn only_get_and_head_are_answered() {
    let served = Served::start(as_it_is).await;
    served.write("x", b"hello");
    let ask = |first: &str| {
        let request = format!("{first} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let addr = served.addr;
        async move { raw(addr, &request).await }
    };
    for method in ["PUT", "DELETE", "POST", "OPTIONS", "PROPFIND"] {
        let answer = ask(&format!("{method} /x")).await;
        assert_eq!(status(&answer), "405", "{answer}");
        assert!(has(&answer, "allow: GET, HEAD"));
    }
    let answer = ask("HEAD /x").await;
    assert_eq!(status(&answer), "200");
    assert!(has(&answer, "content-length: 5\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    for missing in ["HEAD /y", "GET /y"] {
        assert_eq!(status(&ask(missing).await), "404");
    }
    assert_eq!(
        std::fs::read(served.root.path().join("repo/x")).unwrap(),
        b"hello"
    );
}

#[tokio::test]
async fn ranges_are_answered_as_http_says() {
    let served = Served::start(as_it_is).await;
    served.write("x", b"0123456789");
    served.write("empty", b"");
    for (target, range, code, header, body) in [
        (
            "x",
            "bytes=2-4",
            "206",
            "content-range: bytes 2-4/10\r\n",
            "234",
        ),
        (
            "x",
            "bytes=-3",
            "206",
            "content-range: bytes 7-9/10\r\n",
            "789",
        ),
        (
            "x",
            "bytes=8-99",
            "206",
            "content-range: bytes 8-9/10\r\n",
            "89",
        ),
        ("x", "bytes=10-", "416", "content-range: bytes */10\r\n", ""),
        (
            "empty",
            "bytes=0-",
            "416",
            "content-range: bytes */0\r\n",
            "",
        ),
        (
            "x",
            "bytes=0-1,3-4",
            "200",
            "content-length: 10\r\n",
            "0123456789",
        ),
    ] {
        let request = format!(
            "GET /{target} HTTP/1.1\r\nHost: h\r\nRange: {range}\r\nConnection: close\r\n\r\n"
        );
        let answer = raw(served.addr, &request).await;
        assert_eq!(status(&answer), code, "{range}: {answer}");
        assert!(has(&answer, header), "{range}: {answer}");
        assert!(answer.ends_with(body), "{range}: {answer}");
    }
}

#[tokio::test]
async fn the_log_tells_what_was_sent_also_when_the_client_leaves() {
    let served = Served::start(as_it_is).await;
    served.write("x", b"0123456789");
    served.write("large", &pattern(30_000_000));
    let transport = client(&served.url(), patient()).await;
    get(&transport, "x", FetchOptions::default()).await.unwrap();
    assert!(
        transport
            .fetch(&path("y"), FetchOptions::default())
            .await
            .unwrap()
            .is_none()
    );
    let answer = transport
        .fetch(&path("large"), FetchOptions::default())
        .await
        .unwrap();
    let Some(Fetched::File(mut file)) = answer else {
        panic!("it is there");
    };
    file.bytes.next().await.unwrap().unwrap();
    drop(file);
    let started = Instant::now();
    while served.log().len() < 3 && started.elapsed() < Duration::from_secs(60) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let log = served.log();
    let brief: Vec<_> = log
        .iter()
        .map(|s| (&*s.method, &*s.path, s.status))
        .collect();
    assert_eq!(
        brief,
        [
            ("GET", "/x", 200),
            ("GET", "/y", 404),
            ("GET", "/large", 200)
        ]
    );
    assert_eq!(log[0].bytes_sent, 10);
    assert!(
        log[2].bytes_sent > 0 && log[2].bytes_sent < 30_000_000,
        "{:?}",
        log[2]
    );
}

#[tokio::test]
async fn a_file_that_is_cut_while_it_is_sent_is_not_taken_for_whole() {
    let served = Served::start(as_it_is).await;
    served.write("large", &pattern(30_000_000));
    let transport = client(&served.url(), patient()).await;
    let answer = transport
        .fetch(&path("large"), FetchOptions::default())
        .await
        .unwrap();
    let Some(Fetched::File(file)) = answer else {
        panic!("it is there");
    };
    served.write("large", &pattern(1000));
    let error = support::read_all(file).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Unavailable { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn connections_that_do_nothing_are_closed() {
    let served = Served::start(|options| options.idle_timeout_ms(200)).await;
    served.write("large", &pattern(30_000_000));
    let begun = [
        "",
        "PRI * HT",
        "GET / HTTP/1.1\r\nHost",
        "GET /large HTTP/1.1\r\nHost: h\r\n\r\n",
    ];
    for start in begun {
        let mut stream = TcpStream::connect(served.addr).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        // Nothing is read for a while: neither does a client that stops reading keep it open.
        tokio::time::sleep(Duration::from_millis(600)).await;
        let mut out = Vec::new();
        let read = stream.read_to_end(&mut out);
        let ended = tokio::time::timeout(Duration::from_secs(60), read).await;
        assert!(ended.is_ok(), "{start:?}");
        assert!(out.len() < 30_000_000, "{start:?}");
    }
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_their_turn() {
    let served = Served::start(|options| options.connections_max(2).idle_timeout_ms(500)).await;
    served.write("x", b"hello");
    let started = Instant::now();
    let _idle = [
        TcpStream::connect(served.addr).await.unwrap(),
        TcpStream::connect(served.addr).await.unwrap(),
    ];
    let transport = client(&served.url(), HttpOptions::default()).await;
    get(&transport, "x", FetchOptions::default()).await.unwrap();
    assert!(
        started.elapsed() > Duration::from_millis(300),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn at_shutdown_what_is_under_way_ends_and_nothing_new_begins() {
    let mut served = Served::start(as_it_is).await;
    let bytes = pattern(30_000_000);
    served.write("large", &bytes);
    let transport = client(&served.url(), HttpOptions::default()).await;
    let answer = transport
        .fetch(&path("large"), FetchOptions::default())
        .await
        .unwrap();
    let Some(Fetched::File(file)) = answer else {
        panic!("it is there");
    };
    let reading = tokio::spawn(support::read_all(file));
    served.stop().await;
    assert!(reading.await.unwrap().unwrap().1 == bytes);
    let error = get(&transport, "large", FetchOptions::default())
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Unavailable { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn at_shutdown_a_client_that_does_not_read_is_not_waited_for() {
    let mut served = Served::start(|options| options.shutdown_timeout_ms(200)).await;
    served.write("large", &pattern(30_000_000));
    let transport = client(&served.url(), HttpOptions::default()).await;
    let _unread = transport
        .fetch(&path("large"), FetchOptions::default())
        .await
        .unwrap();
    let started = Instant::now();
    served.stop().await;
    assert!(
        started.elapsed() < Duration::from_secs(60),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_over_both_versions() {
    let served = Served::start(as_it_is).await;
    for i in 0..50usize {
        served.write(&format!("objects/{i}"), &pattern(i * 7000));
    }
    for versions in [HttpVersions::Http1, HttpVersions::Http2] {
        let transport =
            Arc::new(client(&served.url(), HttpOptions::default().versions(versions)).await);
        let fetches = (0..500usize).map(|n| {
            let transport = transport.clone();
            async move {
                let i = n % 50;
                let name = format!("objects/{i}");
                let (_, got) = get(&*transport, &name, FetchOptions::default())
                    .await
                    .unwrap();
                assert!(got == pattern(i * 7000));
            }
        });
        futures::stream::iter(fetches)
            .buffer_unordered(32)
            .collect::<Vec<_>>()
            .await;
    }
    // A line is written once an answer is over, which the client may know first.
    let late = Instant::now() + Duration::from_secs(60);
    while served.log().len() < 1000 && Instant::now() < late {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(served.log().len(), 1000);
}

#[tokio::test]
async fn the_owner_of_a_server_decides_what_is_answered() {
    let served = Served::start(|options| {
        options.judge(|asked| async move {
            let known = asked.header("x-key").any(|key| key == "open");
            match asked.path.as_str() {
                _ if !known => Verdict::Answer(Answer::status(403)),
                "/other" => Verdict::FileAt("/x".to_owned()),
                "/moved" => Verdict::Answer(Answer::status(301).header("Location", "/x")),
                "/made" => Verdict::Answer(Answer::status(200).body("made for you")),
                "/bad" => Verdict::Answer(Answer::status(7)),
                "/none" => Verdict::Answer(Answer::status(204)),
                "/out" => Verdict::FileAt("/../../etc/passwd".to_owned()),
                _ => Verdict::File,
            }
        })
    })
    .await;
    served.write("x", b"content");
    let ask = |path: &'static str, key: &'static str| {
        let request = format!("GET {path} HTTP/1.0\r\nX-Key: {key}\r\n\r\n");
        let addr = served.addr;
        async move { raw(addr, &request).await }
    };
    assert_eq!(status(&ask("/x", "guessed").await), "403");
    for (path, expected, has_text) in [
        ("/x", "200", "content"),
        ("/other", "200", "content"),
        ("/moved", "301", "location: /x"),
        ("/made", "200", "made for you"),
        ("/bad", "500", "500"),
        ("/none", "204", ""),
        ("/out", "404", "404"),
        ("/nowhere", "404", "404"),
    ] {
        let answer = ask(path, "open").await;
        assert_eq!(status(&answer), expected, "{path}");
        assert!(has(&answer, has_text), "{answer}");
    }
}

#[tokio::test]
async fn half_of_a_file_is_a_broken_transfer_that_can_be_continued() {
    let served = Served::start(|options| {
        options.judge(|asked| async move {
            match asked.header("range").next() {
                None => Verdict::HalfOfFile,
                Some(_) => Verdict::File,
            }
        })
    })
    .await;
    let transport = client(&served.url(), patient()).await;
    for len in [1, 2, 1000, LARGE] {
        served.write("x", &pattern(len));
        let file = path("x");
        let whole = transport.fetch(&file, FetchOptions::default());
        let Fetched::File(mut file) = whole.await.unwrap().unwrap() else {
            panic!("it is a file");
        };
        assert_eq!(file.total_bytes, Some(len as u64));
        let mut got = Vec::new();
        while let Some(Ok(chunk)) = file.bytes.next().await {
            got.extend_from_slice(&chunk);
        }
        assert!(got == pattern(len)[..len / 2], "{} of {len}", got.len());
        if got.is_empty() {
            continue;
        }
        let resume = FetchOptions {
            resume: Some(Resume {
                offset: got.len() as u64,
                validator: file.validator.clone().unwrap(),
            }),
            ..FetchOptions::default()
        };
        let (_, rest) = get(&transport, "x", resume).await.unwrap();
        assert!(rest == pattern(len)[len / 2..], "{len}");
    }
}

#[tokio::test]
async fn links_lead_out_of_the_directory_only_where_that_was_asked_for() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "outside").unwrap();
    for (follow, expected) in [(false, "404"), (true, "200")] {
        let served = Served::start(|options| match follow {
            true => options.follow_links_out(),
            false => options,
        })
        .await;
        served.write("x", b"content");
        symlink(outside.path(), served.root.path().join("repo/link")).unwrap();
        let answer = raw(served.addr, "GET /link/secret HTTP/1.0\r\n\r\n").await;
        assert_eq!(status(&answer), expected, "{answer}");
        let request = "GET /link/../../etc/passwd HTTP/1.0\r\n\r\n";
        assert_eq!(status(&raw(served.addr, request).await), "404");
    }
}

#[tokio::test]
async fn a_root_that_is_not_a_directory_is_refused() {
    let any = "127.0.0.1:0".parse().unwrap();
    for root in ["/nowhere/at/all", "/etc/passwd"] {
        let error = Server::bind(any, ServeOptions::new(root))
            .await
            .unwrap_err();
        assert!(error.to_string().starts_with(root), "{error}");
    }
}
