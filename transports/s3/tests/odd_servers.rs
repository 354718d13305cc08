//! Answers that the servers at hand do not give: redirects, a clock that is wrong; and a proxy.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use treeferry_core::transport::{FetchOptions, Fetched, RemotePath, Transport};
use treeferry_core::{Error, ErrorKind};
use treeferry_transport_s3::{BucketOptions, BucketTransport, Credentials, Keys};

/// Gives each request the same answer, and remembers what was asked.
struct Server {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answer: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                    if client.read_buf(&mut head).await.unwrap() == 0 {
                        break;
                    }
                }
                let head = String::from_utf8_lossy(&head).to_lowercase();
                seen.lock().unwrap().push(head);
                client.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { port, heads }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.heads.lock().unwrap())
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}"
    )
}

fn file() -> String {
    let headers = "ETag: \"1\"\r\nLast-Modified: Tue, 01 Jul 2025 10:00:00 GMT\r\n";
    answer("200 OK", headers, "the file")
}

fn options(endpoint: String) -> BucketOptions {
    let mut options = BucketOptions::default();
    options.endpoint = Some(endpoint);
    options.credentials = Credentials::Keys(Keys {
        id: "KEY".into(),
        secret: "secret".into(),
        token: Some("token".into()),
    });
    options
}

async fn fetch(options: BucketOptions) -> Result<String, Error> {
    let bucket = BucketTransport::open("s3://trees/repo", options).await?;
    let path = RemotePath::new("objects/00/11.filez")?;
    match bucket.fetch(&path, FetchOptions::default()).await? {
        Some(Fetched::File(file)) => {
            let bytes = file.collect(1000).await?;
            Ok(String::from_utf8(bytes.into()).unwrap())
        }
        other => panic!("{other:?}"),
    }
}

fn at(port: u16) -> BucketOptions {
    options(format!("http://127.0.0.1:{port}"))
}

#[tokio::test]
async fn an_address_that_is_signed_is_followed_without_our_keys() {
    let cache = Server::start(file()).await;
    let signed = format!(
        "Location: http://127.0.0.1:{}/cache/1?X-Amz-Signature=abc&X-Amz-Expires=60\r\n",
        cache.port
    );
    let gateway = Server::start(answer("307 Temporary Redirect", &signed, "")).await;
    assert_eq!(fetch(at(gateway.port)).await.unwrap(), "the file");
    let asked = gateway.take();
    assert!(
        asked[0].contains("authorization: aws4-hmac-sha256"),
        "{asked:?}"
    );
    let asked = cache.take();
    assert!(
        asked[0].starts_with("get /cache/1?x-amz-signature=abc"),
        "{asked:?}"
    );
    for ours in ["authorization", "token", "x-amz-date"] {
        assert!(!asked[0].contains(ours), "{asked:?}");
    }
}

#[tokio::test]
async fn where_our_signature_would_be_needed_it_says_what_to_name() {
    let other = Server::start(file()).await;
    let unsigned = format!("Location: http://127.0.0.1:{}/trees/1\r\n", other.port);
    let gateway = Server::start(answer("307 Temporary Redirect", &unsigned, "")).await;
    let error = fetch(at(gateway.port)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
    assert!(error.to_string().contains("endpoint"), "{error}");
    assert_eq!(other.take(), [""; 0]);
    let region = "x-amz-bucket-region: eu-north-1\r\n";
    let gateway = Server::start(answer("301 Moved Permanently", region, "")).await;
    let error = fetch(at(gateway.port)).await.unwrap_err();
    let said = format!("{error:#?} {error}");
    assert!(
        said.contains("region=NAME") && said.contains("eu-north-1"),
        "{said}"
    );
}

#[tokio::test]
async fn who_sends_round_in_circles_is_left() {
    let here = "Location: /again?X-Amz-Signature=abc\r\n";
    let gateway = Server::start(answer("302 Found", here, "")).await;
    let error = fetch(at(gateway.port)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
    assert_eq!(gateway.take().len(), 6);
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_named() {
    let body = "<?xml version=\"1.0\"?><Error><Code>RequestTimeTooSkewed</Code></Error>";
    let date = "Date: Tue, 01 Jul 2025 10:00:00 GMT\r\n";
    let server = Server::start(answer("403 Forbidden", date, body)).await;
    let error = fetch(at(server.port)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    let said = format!("{error:#?} {error}");
    assert!(
        said.contains("clock") && said.contains("01 Jul 2025"),
        "{said}"
    );
}

#[tokio::test]
async fn a_proxy_is_gone_through() {
    let proxy = Server::start(file()).await;
    let through = format!("http://127.0.0.1:{}", proxy.port);
    let options = options("http://bucket.invalid:9".into()).proxy(through);
    assert_eq!(fetch(options).await.unwrap(), "the file");
    let asked = proxy.take();
    let line = "get http://bucket.invalid:9/trees/repo/objects/00/11.filez http/1.1";
    assert!(asked[0].starts_with(line), "{asked:?}");
}
