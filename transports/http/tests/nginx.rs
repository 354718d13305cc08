//! The client against nginx: in the clear, over TLS, and over HTTP/2.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;
#[path = "support/nginx.rs"]
mod web;

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use support::{client, get, path, pattern};
use treeferry_core::ErrorKind;
use treeferry_core::transport::{FetchOptions, Fetched, Resume, Transport, Validator};
use treeferry_transport_http::{
    ClientIdentity, HttpOptions, HttpTransport, HttpVersions, ServerTrust, TlsOptions,
};
use web::Nginx;

const LARGE: usize = 3_000_000;

fn plain() -> Nginx {
    Nginx::start(tempfile::tempdir().unwrap(), "", "")
}

/// Starts nginx with TLS, and returns the certificate of its authority as well.
fn secure(more: &str) -> (Nginx, impl Fn(&str) -> Bytes) {
    let dir = tempfile::tempdir().unwrap();
    web::make_certificates(dir.path());
    let certificates = dir.path().to_owned();
    let at = certificates.display();
    let tls = format!("ssl_certificate {at}/server.pem; ssl_certificate_key {at}/server.key;");
    let nginx = Nginx::start(dir, "ssl http2", &format!("{tls} {more}"));
    let read = move |name: &str| Bytes::from(std::fs::read(certificates.join(name)).unwrap());
    (nginx, read)
}

fn trusting(trust: ServerTrust) -> HttpOptions {
    HttpOptions::default().tls(TlsOptions {
        trust,
        identity: None,
    })
}

fn whole() -> FetchOptions {
    FetchOptions::default()
}

async fn error_of(transport: &HttpTransport) -> treeferry_core::Error {
    get(transport, "x", whole()).await.unwrap_err()
}

/// Fetches whole, if changed, and the rest; the file is served at `x`.
async fn check_all_ways(transport: &HttpTransport, bytes: &[u8]) {
    let (file, got) = get(transport, "x", whole()).await.unwrap();
    assert!(got == bytes);
    assert_eq!(file.total_bytes, Some(bytes.len() as u64));
    let validator = file.validator.unwrap();
    assert!(matches!(validator, Validator::ETag(_)));
    let unless = FetchOptions {
        unless: Some(validator.clone()),
        ..whole()
    };
    let answer = transport.fetch(&path("x"), unless).await.unwrap().unwrap();
    assert!(matches!(answer, Fetched::NotModified));
    for offset in [1, bytes.len() / 2, bytes.len() - 1, bytes.len()] {
        for (validator, start) in [
            (validator.clone(), offset),
            (Validator::ETag("\"other\"".into()), 0),
        ] {
            let resume = FetchOptions {
                resume: Some(Resume {
                    offset: offset as u64,
                    validator,
                }),
                ..whole()
            };
            let (file, got) = get(transport, "x", resume).await.unwrap();
            assert_eq!(
                (file.offset, file.total_bytes),
                (start as u64, Some(bytes.len() as u64))
            );
            assert!(got == bytes[start..]);
        }
    }
    assert!(
        transport
            .fetch(&path("missing"), whole())
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
#[cfg_attr(not(has_nginx), ignore = "needs nginx")]
async fn whole_conditional_and_resumed_over_http_1() {
    let nginx = plain();
    let bytes = pattern(LARGE);
    std::fs::write(nginx.html().join("x"), &bytes).unwrap();
    let url = format!("http://127.0.0.1:{}", nginx.port);
    check_all_ways(&client(&url, HttpOptions::default()).await, &bytes).await;
    let log = nginx.access_log(11);
    assert!(log.iter().all(|line| line.contains("HTTP/1.1")), "{log:?}");
    let connections: HashSet<_> = log
        .iter()
        .map(|line| line.split(' ').nth(2).unwrap())
        .collect();
    assert!(
        connections.len() <= 2,
        "connections are used again: {log:?}"
    );
}

#[tokio::test]
#[cfg_attr(not(all(has_nginx, has_openssl)), ignore = "needs nginx, and openssl")]
async fn whole_conditional_and_resumed_over_tls_and_http_2() {
    let (nginx, read) = secure("");
    let bytes = pattern(LARGE);
    std::fs::write(nginx.html().join("x"), &bytes).unwrap();
    let url = format!("https://localhost:{}", nginx.port);
    let options = trusting(ServerTrust::Authorities(read("ca.pem")));
    check_all_ways(&client(&url, options.clone()).await, &bytes).await;
    let log = nginx.access_log(11);
    assert!(log.iter().all(|line| line.contains("HTTP/2.0")), "{log:?}");
    let one = client(&url, options.versions(HttpVersions::Http1)).await;
    get(&one, "x", whole()).await.unwrap();
    assert!(nginx.access_log(12)[11].contains("HTTP/1.1"));
}

#[tokio::test]
#[cfg_attr(not(all(has_nginx, has_openssl)), ignore = "needs nginx, and openssl")]
async fn a_server_that_nobody_vouches_for_is_denied_unless_anyone_is_trusted() {
    let (nginx, read) = secure("");
    std::fs::write(nginx.html().join("x"), "hello").unwrap();
    let url = format!("https://localhost:{}", nginx.port);
    let error = error_of(&client(&url, HttpOptions::default()).await).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    assert!(
        error.to_string().contains("certificate is not trusted"),
        "{error}"
    );
    // The certificate is for other names than this one.
    let other = format!("https://127.0.0.1:{}", nginx.port);
    let options = trusting(ServerTrust::Authorities(read("ca.pem")));
    let error = error_of(&client(&other, options).await).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    let anyone = client(&url, trusting(ServerTrust::Anyone)).await;
    assert_eq!(&get(&anyone, "x", whole()).await.unwrap().1[..], b"hello");
}

#[tokio::test]
#[cfg_attr(not(all(has_nginx, has_openssl)), ignore = "needs nginx, and openssl")]
async fn a_client_with_a_certificate_is_let_in() {
    let (nginx, read) = secure("ssl_client_certificate html/../ca.pem; ssl_verify_client on;");
    std::fs::write(nginx.html().join("x"), "hello").unwrap();
    let url = format!("https://localhost:{}", nginx.port);
    let trust = ServerTrust::Authorities(read("ca.pem"));
    let without = client(&url, trusting(trust.clone())).await;
    let error = error_of(&without).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    let identity = Some(ClientIdentity {
        certificate_pem: read("client.pem"),
        key_pem: read("client.key"),
    });
    let options = HttpOptions::default().tls(TlsOptions { trust, identity });
    let with = client(&url, options).await;
    assert_eq!(&get(&with, "x", whole()).await.unwrap().1[..], b"hello");
}

#[tokio::test]
#[cfg_attr(not(has_openssl), ignore = "needs openssl")]
async fn certificates_that_are_none_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    web::make_certificates(dir.path());
    let read = |name: &str| Bytes::from(std::fs::read(dir.path().join(name)).unwrap());
    for pem in [Bytes::new(), Bytes::from("garbage"), read("server.key")] {
        let options = trusting(ServerTrust::Authorities(pem));
        let error = HttpTransport::new("https://h/", options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    for (certificate, key) in [
        ("client.pem", "server.key"),
        ("client.pem", "client.pem"),
        ("client.key", "client.key"),
    ] {
        let identity = Some(ClientIdentity {
            certificate_pem: read(certificate),
            key_pem: read(key),
        });
        let tls = TlsOptions {
            trust: ServerTrust::System,
            identity,
        };
        let options = HttpOptions::default().tls(tls);
        let error = HttpTransport::new("https://h/", options).await.unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::Invalid,
            "{certificate} {key}: {error}"
        );
    }
}

#[tokio::test]
#[cfg_attr(not(all(has_nginx, has_openssl)), ignore = "needs nginx, and openssl")]
async fn a_redirect_from_tls_to_the_clear_is_not_followed() {
    let (nginx, read) = secure("location /x { return 302 http://localhost:1/x; }");
    let url = format!("https://localhost:{}", nginx.port);
    let options = trusting(ServerTrust::Authorities(read("ca.pem")));
    let error = error_of(&client(&url, options).await).await;
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("not encrypted"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(all(has_nginx, has_openssl)), ignore = "needs nginx, and openssl")]
async fn hundreds_at_once_share_one_connection_over_http_2() {
    let (nginx, read) = secure("");
    for i in 0..40usize {
        std::fs::write(nginx.html().join(i.to_string()), pattern(i * 9000)).unwrap();
    }
    let url = format!("https://localhost:{}", nginx.port);
    let options = trusting(ServerTrust::Authorities(read("ca.pem")));
    let transport = Arc::new(client(&url, options).await);
    get(&*transport, "0", whole()).await.unwrap();
    let fetches = (0..400usize).map(|n| {
        let (transport, i) = (transport.clone(), n % 40);
        async move {
            let (_, got) = get(&*transport, &i.to_string(), whole()).await.unwrap();
            assert!(got == pattern(i * 9000));
        }
    });
    futures::stream::iter(fetches)
        .buffer_unordered(64)
        .collect::<Vec<_>>()
        .await;
    let log = nginx.access_log(401);
    let connections: HashSet<_> = log
        .iter()
        .map(|line| line.split(' ').nth(2).unwrap())
        .collect();
    assert_eq!((log.len(), connections.len()), (401, 1));
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(all(has_nginx, has_openssl)), ignore = "needs nginx, and openssl")]
async fn files_that_wait_to_be_read_do_not_stop_others_over_http_2() {
    let (nginx, read) = secure("");
    let bytes = pattern(LARGE);
    std::fs::write(nginx.html().join("x"), &bytes).unwrap();
    let url = format!("https://localhost:{}", nginx.port);
    let options = trusting(ServerTrust::Authorities(read("ca.pem"))).stall_timeout_ms(5000);
    let transport = client(&url, options).await;
    let mut waiting = Vec::new();
    for _ in 0..60 {
        let answer = transport.fetch(&path("x"), whole()).await.unwrap();
        let Some(Fetched::File(file)) = answer else {
            panic!("it is there");
        };
        waiting.push(file);
    }
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    while let Some(file) = waiting.pop() {
        assert!(support::read_all(file).await.unwrap().1 == bytes);
    }
}
