//! What the client makes of the answers of servers, good and bad.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::time::{Duration, Instant};

use support::{RawServer, Step, answer, client, get, path, patient, send};
use treeferry_core::transport::{FetchOptions, Fetched, Resume, Transport, Validator};
use treeferry_core::{Error, ErrorKind};
use treeferry_transport_http::{HttpOptions, LowSpeed};

fn etag(text: &str) -> Validator {
    Validator::ETag(format!("\"{text}\""))
}

fn resume(offset: u64) -> FetchOptions {
    FetchOptions {
        resume: Some(Resume {
            offset,
            validator: etag("v1"),
        }),
        ..FetchOptions::default()
    }
}

fn whole() -> FetchOptions {
    FetchOptions::default()
}

/// Fetches `summary` from a server that always takes these steps, and returns the error.
async fn error_of(steps: Vec<Step>, fetch: FetchOptions, options: HttpOptions) -> Error {
    let server = RawServer::always(steps).await;
    let transport = client(&server.url(), options).await;
    let error = get(&transport, "summary", fetch).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with(&format!("{}/summary: ", server.url())),
        "{error}"
    );
    error
}

fn retry_after(error: &Error) -> Option<Duration> {
    match error.kind() {
        ErrorKind::Unavailable { retry_after } => retry_after,
        other => panic!("{other:?}: {error}"),
    }
}

#[tokio::test]
async fn a_file_comes_with_its_length_and_version() {
    let server = RawServer::always(vec![send("200 OK", &["ETag: \"v1\""], b"hello")]).await;
    let transport = client(&server.url(), patient()).await;
    let (file, bytes) = get(&transport, "refs/heads/müller", whole()).await.unwrap();
    assert_eq!(
        (file.offset, file.total_bytes, file.validator),
        (0, Some(5), Some(etag("v1")))
    );
    assert_eq!(&bytes[..], b"hello");
    let request = &server.requests()[0];
    assert_eq!(request.path(), "/repo/refs/heads/m%C3%BCller");
    for absent in [
        "accept-encoding",
        "range",
        "if-none-match",
        "authorization",
        "referer",
    ] {
        assert_eq!(request.header(absent), None, "{absent}");
    }
    let agent = request.header("user-agent").unwrap();
    assert!(agent.starts_with("treeferry/"), "{agent}");
}

#[tokio::test]
async fn compressed_answers_come_as_they_were_sent() {
    let steps = vec![send("200 OK", &["Content-Encoding: gzip"], b"\x1f\x8braw")];
    let server = RawServer::always(steps).await;
    let transport = client(&server.url(), patient()).await;
    let (_, bytes) = get(&transport, "summary", whole()).await.unwrap();
    assert_eq!(&bytes[..], b"\x1f\x8braw");
}

#[tokio::test]
async fn what_is_not_there_is_none() {
    for status in ["403 Forbidden", "404 Not Found", "410 Gone"] {
        let server = RawServer::always(vec![send(status, &[], b"no")]).await;
        let transport = client(&server.url(), patient()).await;
        let answer = transport.fetch(&path("summary"), whole()).await.unwrap();
        assert!(answer.is_none(), "{status}");
    }
}

#[tokio::test]
async fn refusals_are_told_from_troubles_that_pass() {
    for status in [
        "401 Unauthorized",
        "407 Proxy Authentication Required",
        "451 No",
        "400 Bad",
    ] {
        let error = error_of(vec![send(status, &[], b"")], whole(), patient()).await;
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    }
    for status in [
        "408 Timeout",
        "429 Slow Down",
        "500 Oops",
        "503 Later",
        "599 Odd",
    ] {
        let error = error_of(vec![send(status, &[], b"")], whole(), patient()).await;
        assert_eq!(retry_after(&error), None);
    }
    for status in [
        "204 No Content",
        "304 Not Modified",
        "206 Partial",
        "416 No",
        "300 Choose",
    ] {
        let answer = format!("HTTP/1.1 {status}\r\n\r\n").into_bytes();
        let error = error_of(vec![Step::Send(answer), Step::Close], whole(), patient()).await;
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

#[tokio::test]
async fn a_server_says_how_long_to_leave_it_alone() {
    let steps = vec![send("503 Later", &["Retry-After: 7"], b"")];
    let error = error_of(steps, whole(), patient()).await;
    assert_eq!(retry_after(&error), Some(Duration::from_secs(7)));
    let date = [
        "Date: Tue, 15 Nov 1994 08:12:31 GMT",
        "Retry-After: Tue, 15 Nov 1994 08:12:40 GMT",
    ];
    let error = error_of(vec![send("429 Slow", &date, b"")], whole(), patient()).await;
    assert_eq!(retry_after(&error), Some(Duration::from_secs(9)));
}

#[tokio::test]
async fn a_file_that_one_has_is_not_sent_again() {
    let server = RawServer::start(|request| {
        let tag = request.header("if-none-match") == Some("\"v1\"");
        let time = request.header("if-modified-since") == Some("Tue, 15 Nov 1994 08:12:31 GMT");
        match tag || time {
            true => vec![Step::Send(b"HTTP/1.1 304 Not Modified\r\n\r\n".into())],
            false => vec![send("200 OK", &[], b"new")],
        }
    })
    .await;
    let transport = client(&server.url(), patient()).await;
    let time = Validator::LastModified("Tue, 15 Nov 1994 08:12:31 GMT".into());
    for validator in [etag("v1"), time] {
        let unless = FetchOptions {
            unless: Some(validator),
            ..whole()
        };
        let answer = transport
            .fetch(&path("summary"), unless)
            .await
            .unwrap()
            .unwrap();
        assert!(matches!(answer, Fetched::NotModified));
    }
    let unless = FetchOptions {
        unless: Some(etag("v0")),
        ..whole()
    };
    let (_, bytes) = get(&transport, "summary", unless).await.unwrap();
    assert_eq!(&bytes[..], b"new");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn the_rest_of_a_file_is_asked_for_under_its_version() {
    let headers = ["ETag: \"v1\"", "Content-Range: bytes 3-9/10"];
    let server = RawServer::always(vec![send("206 Partial", &headers, b"3456789")]).await;
    let transport = client(&server.url(), patient()).await;
    let (file, bytes) = get(&transport, "x", resume(3)).await.unwrap();
    assert_eq!(
        (file.offset, file.total_bytes, file.validator),
        (3, Some(10), Some(etag("v1")))
    );
    assert_eq!(&bytes[..], b"3456789");
    let request = &server.requests()[0];
    assert_eq!(request.header("range"), Some("bytes=3-"));
    assert_eq!(request.header("if-range"), Some("\"v1\""));
}

#[tokio::test]
async fn of_another_version_all_of_it_comes() {
    let server = RawServer::always(vec![send("200 OK", &["ETag: \"v2\""], b"another")]).await;
    let transport = client(&server.url(), patient()).await;
    let (file, bytes) = get(&transport, "x", resume(3)).await.unwrap();
    assert_eq!((file.offset, file.validator), (0, Some(etag("v2"))));
    assert_eq!(&bytes[..], b"another");
}

#[tokio::test]
async fn a_part_of_another_version_is_not_taken() {
    let server = RawServer::start(|request| match request.header("range") {
        Some(_) => {
            let headers = ["ETag: \"v2\"", "Content-Range: bytes 3-6/7"];
            vec![send("206 Partial", &headers, b"ther")]
        }
        None => vec![send("200 OK", &["ETag: \"v2\""], b"another")],
    })
    .await;
    let transport = client(&server.url(), patient()).await;
    let (file, bytes) = get(&transport, "x", resume(3)).await.unwrap();
    assert_eq!((file.offset, file.total_bytes), (0, Some(7)));
    assert_eq!(&bytes[..], b"another");
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_part_that_is_complete_already_needs_nothing_more() {
    let steps = vec![send("416 No", &["Content-Range: bytes */10"], b"")];
    let server = RawServer::always(steps).await;
    let transport = client(&server.url(), patient()).await;
    let (file, bytes) = get(&transport, "x", resume(10)).await.unwrap();
    assert_eq!(
        (file.offset, file.total_bytes, file.validator),
        (10, Some(10), Some(etag("v1")))
    );
    assert!(bytes.is_empty());
}

#[tokio::test]
async fn a_file_that_became_shorter_is_fetched_anew() {
    let server = RawServer::start(|request| match request.header("range") {
        Some(_) => vec![send("416 No", &["Content-Range: bytes */4"], b"")],
        None => vec![send("200 OK", &[], b"four")],
    })
    .await;
    let transport = client(&server.url(), patient()).await;
    let (file, bytes) = get(&transport, "x", resume(10)).await.unwrap();
    assert_eq!((file.offset, &bytes[..]), (0, &b"four"[..]));
}

#[tokio::test]
async fn parts_that_are_not_what_was_asked_for_are_refused() {
    for range in [
        "Content-Range: bytes 2-9/10",
        "Content-Range: bytes 4-9/10",
        "Content-Range: bytes 3-8/10",
        "Content-Range: bytes 3-9/9",
        "Content-Range: bytes 3-9/11",
        "Content-Range: bytes 3-10/11",
        "Content-Range: bytes */10",
        "Content-Range: bytes 3-9",
        "Content-Type: multipart/byteranges; boundary=x",
    ] {
        let steps = vec![send("206 Partial", &["ETag: \"v1\"", range], b"3456789")];
        let error = error_of(steps, resume(3), patient()).await;
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{range}: {error}");
    }
}

#[tokio::test]
async fn a_body_that_stops_short_ends_in_an_error() {
    let mut cut = answer("200 OK", &[], b"0123456789");
    cut.truncate(cut.len() - 3);
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n".to_vec();
    for end in [Step::Close, Step::Reset] {
        for start in [&cut, &chunked] {
            let steps = vec![Step::Send(start.clone()), end.clone()];
            let error = error_of(steps, whole(), patient()).await;
            assert_eq!(retry_after(&error), None, "{error}");
        }
    }
}

#[tokio::test]
async fn every_cut_of_an_answer_is_noticed() {
    let answer = answer("200 OK", &["ETag: \"v1\""], b"0123456789");
    for cut in 0..answer.len() {
        let steps = vec![Step::Send(answer[..cut].to_vec()), Step::Close];
        let error = error_of(steps, whole(), patient()).await;
        assert_eq!(retry_after(&error), None, "cut at {cut}: {error}");
    }
}

#[tokio::test]
async fn a_file_over_the_limit_is_refused_when_announced_and_while_it_arrives() {
    let limit = FetchOptions {
        bytes_max: Some(9),
        ..whole()
    };
    let announced = vec![send("200 OK", &[], b"0123456789")];
    let error = error_of(announced, limit.clone(), patient()).await;
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        error
            .to_string()
            .contains("10 bytes long, over the limit of 9"),
        "{error}"
    );
    let head = b"HTTP/1.0 200 OK\r\n\r\n0123456789".to_vec();
    let error = error_of(vec![Step::Send(head), Step::Hang], limit.clone(), patient()).await;
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let exact = RawServer::always(vec![send("200 OK", &[], b"012345678")]).await;
    let transport = client(&exact.url(), patient()).await;
    assert_eq!(get(&transport, "x", limit).await.unwrap().1.len(), 9);
}

#[tokio::test]
async fn nothing_hangs() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n".to_vec();
    let part = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234".to_vec();
    for steps in [
        vec![Step::Hang],
        vec![Step::Send(head), Step::Hang],
        vec![Step::Send(part), Step::Hang],
    ] {
        let started = Instant::now();
        let brief = patient().connect_timeout_ms(200).stall_timeout_ms(200);
        let error = error_of(steps, whole(), brief).await;
        assert_eq!(retry_after(&error), None);
        assert!(error.to_string().contains("ms"), "{error}");
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "{:?}",
            started.elapsed()
        );
    }
}

#[tokio::test]
async fn a_wait_shorter_than_the_limit_is_fine_and_so_is_a_slow_reader() {
    let server = RawServer::always(vec![
        Step::WaitMs(100),
        Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n012".to_vec()),
        Step::WaitMs(150),
        Step::Send(b"345".to_vec()),
    ])
    .await;
    let transport = client(&server.url(), patient().stall_timeout_ms(3000)).await;
    let answer = transport.fetch(&path("x"), whole()).await.unwrap();
    let Some(Fetched::File(file)) = answer else {
        panic!("it is there");
    };
    tokio::time::sleep(Duration::from_millis(3500)).await;
    assert_eq!(&support::read_all(file).await.unwrap().1[..], b"012345");
}

#[tokio::test]
async fn a_dripping_server_is_given_up() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_vec();
    let steps = vec![Step::Send(head), Step::Drip(20)];
    let slow = LowSpeed {
        bytes_per_second: 1000,
        window_ms: 3000,
    };
    let options = patient().low_speed(Some(slow));
    let error = error_of(steps.clone(), whole(), options).await;
    assert!(error.to_string().contains("too slow"), "{error}");
    let options = patient().low_speed(None).total_timeout_ms(Some(400));
    let error = error_of(steps, whole(), options).await;
    assert!(
        error.to_string().contains("longer than 400 ms in all"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    // Bound and dropped: nobody listens there.
    let addr = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let transport = client(&format!("http://u:secret@{addr}/repo"), patient()).await;
    let error = get(&transport, "summary", whole()).await.unwrap_err();
    assert_eq!(retry_after(&error), None);
    let mut text = format!("{error} {error:?}");
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        text.push_str(&format!(" {next} {next:?}"));
        cause = next.source();
    }
    assert!(!text.contains("secret"), "{text}");
    assert!(
        text.contains(&format!(
            "http://{addr}/repo/summary: cannot be connected to"
        )),
        "{text}"
    );
}

#[tokio::test]
async fn credentials_and_headers_are_sent_and_never_shown() {
    let server = RawServer::always(vec![send("200 OK", &[], b"x")]).await;
    let url = format!("http://me:s%40cret@{}/repo?token=t0ken", server.addr);
    let options = patient()
        .header("X-Key", "k3y")
        .unwrap()
        .append_user_agent("updater/2");
    let transport = client(&url, options).await;
    get(&transport, "summary", whole()).await.unwrap();
    let request = &server.requests()[0];
    assert_eq!(request.path(), "/repo/summary?token=t0ken");
    assert_eq!(request.header("authorization"), Some("Basic bWU6c0BjcmV0"));
    assert_eq!(request.header("x-key"), Some("k3y"));
    assert!(
        request
            .header("user-agent")
            .unwrap()
            .ends_with(" updater/2")
    );
    let shown = format!(
        "{transport:?} {} {}",
        transport.origin(),
        transport.describe(&path("a"))
    );
    for secret in ["s%40cret", "s@cret", "t0ken", "k3y", "bWU6"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[tokio::test]
async fn redirects_are_followed_without_giving_secrets_away() {
    let other = RawServer::always(vec![send("200 OK", &[], b"there")]).await;
    let to = format!("Location: http://x:y@{}/elsewhere?sig=1", other.addr);
    let server = RawServer::start(move |request| match request.path() {
        "/repo/near" => vec![send("302 Found", &["Location: ../here"], b"gone")],
        "/here" => vec![send("200 OK", &[], b"here")],
        _ => vec![send("307 Temporary", &[&to], b"")],
    })
    .await;
    let options = patient().header("X-Key", "k3y").unwrap();
    let transport = client(&format!("http://me:pw@{}/repo", server.addr), options).await;
    assert_eq!(
        &get(&transport, "near", whole()).await.unwrap().1[..],
        b"here"
    );
    assert!(server.requests()[1].header("authorization").is_some());
    assert_eq!(
        &get(&transport, "far", resume(3)).await.unwrap().1[..],
        b"there"
    );
    let request = &other.requests()[0];
    assert_eq!(request.path(), "/elsewhere?sig=1");
    assert_eq!(request.header("authorization"), None);
    assert_eq!(request.header("x-key"), None);
    assert_eq!(request.header("range"), Some("bytes=3-"));
}

#[tokio::test]
async fn redirects_that_lead_nowhere_are_errors() {
    for (location, word) in [
        ("Location: summary", "more than 10 times"),
        ("Location: ftp://h/x", "not HTTP"),
        ("Location: file:///etc/passwd", "not HTTP"),
        ("Location: http://", "nowhere"),
        ("X-Location: /", "nowhere"),
    ] {
        let steps = vec![send("301 Moved", &[location], b"")];
        let error = error_of(steps, whole(), patient()).await;
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[tokio::test]
async fn a_proxy_sees_the_whole_address_and_its_refusal_is_told() {
    let proxy = RawServer::start(|request| match request.line.starts_with("CONNECT") {
        true => vec![send("407 Who Are You", &[], b""), Step::Close],
        false => vec![send("200 OK", &[], b"by proxy")],
    })
    .await;
    let options = patient().proxy(&format!("http://{}", proxy.addr));
    let transport = client("http://far.invalid/repo", options.clone()).await;
    assert_eq!(
        &get(&transport, "x", whole()).await.unwrap().1[..],
        b"by proxy"
    );
    assert_eq!(proxy.requests()[0].path(), "http://far.invalid/repo/x");
    let transport = client("https://far.invalid/repo", options).await;
    let error = get(&transport, "x", whole()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
}

#[tokio::test]
async fn connections_are_used_again_also_after_a_file_that_is_missing() {
    let server = RawServer::start(|request| match request.path().ends_with("x") {
        true => vec![send("200 OK", &[], b"here")],
        false => vec![send("404 Not Found", &[], &[b'n'; 500])],
    })
    .await;
    let transport = client(&server.url(), patient()).await;
    for _ in 0..5 {
        get(&transport, "x", whole()).await.unwrap();
        assert!(
            transport
                .fetch(&path("y"), whole())
                .await
                .unwrap()
                .is_none()
        );
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn options_that_cannot_be_used_are_refused() {
    assert!(HttpOptions::default().header("bad name", "v").is_err());
    assert!(
        HttpOptions::default()
            .header("name", "line\nbreak")
            .is_err()
    );
    let proxied = HttpOptions::default().proxy("nonsense://me:pw@\0");
    let new = treeferry_transport_http::HttpTransport::new("http://h/", proxied).await;
    let error = new.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(!format!("{error:?}").contains("pw"), "{error:?}");
}
