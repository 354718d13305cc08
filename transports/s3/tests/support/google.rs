//! A double of Google Cloud Storage: as much of its XML interface as `object_store` speaks, after Google's
//! reference, in memory. The emulators that can be had speak the JSON interface instead.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

const MODIFIED: &str = "Tue, 01 Jul 2025 10:00:00 GMT";
const LISTED_MODIFIED: &str = "2025-07-01T10:00:00.000Z";
/// Shorter than any server's, so that a few files need more than one.
const PAGE: usize = 10;

#[derive(Clone)]
struct Object {
    generation: u64,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, BTreeMap<u32, Vec<u8>>>,
    changes: u64,
}

struct Request {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// Starts one on a free port, for as long as the process runs.
pub(crate) fn start() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let bucket: Arc<Mutex<Bucket>> = Arc::default();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let bucket = Arc::clone(&bucket);
            std::thread::spawn(move || serve(client, &bucket));
        }
    });
    port
}

fn serve(mut client: TcpStream, bucket: &Mutex<Bucket>) -> std::io::Result<()> {
    let Some(request) = read(&mut client)? else {
        return Ok(());
    };
    let (status, headers, body) = bucket.lock().unwrap().answer(&request);
    let length = match (&*request.method, headers.contains("Content-Length")) {
        ("HEAD", true) => String::new(),
        _ => format!("Content-Length: {}\r\n", body.len()),
    };
    let head = format!("HTTP/1.1 {status} x\r\n{headers}{length}Connection: close\r\n\r\n");
    client.write_all(head.as_bytes())?;
    client.write_all(&body)
}

fn read(client: &mut TcpStream) -> std::io::Result<Option<Request>> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        match client.read(&mut buffer)? {
            0 => return Ok(None),
            n => bytes.extend_from_slice(&buffer[..n]),
        }
    };
    let mut body = bytes.split_off(end);
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (words.next(), words.next());
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers: BTreeMap<_, _> = headers
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").and_then(|n| n.parse().ok());
    let length: usize = length.unwrap_or(0);
    while body.len() < length {
        match client.read(&mut buffer)? {
            0 => return Ok(None),
            n => body.extend_from_slice(&buffer[..n]),
        }
    }
    let target = target.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = query.split('&').map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name.to_owned(), decoded(value))
    });
    Ok(Some(Request {
        method: method.unwrap_or_default().to_owned(),
        path: decoded(path),
        query: query.collect(),
        headers,
        body,
    }))
}

fn decoded(text: &str) -> String {
    let (mut out, bytes) = (Vec::new(), text.as_bytes());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let hex = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        out.push(hex.unwrap_or(bytes[at]));
        at += if hex.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

type Answer = (u16, String, Vec<u8>);

fn nothing(status: u16) -> Answer {
    (status, String::new(), Vec::new())
}

impl Object {
    fn tag(&self) -> String {
        format!("\"tag-{}\"", self.generation)
    }

    fn headers(&self) -> String {
        let (tag, generation) = (self.tag(), self.generation);
        format!("ETag: {tag}\r\nx-goog-generation: {generation}\r\nLast-Modified: {MODIFIED}\r\n")
    }
}

impl Bucket {
    fn answer(&mut self, request: &Request) -> Answer {
        // Who writes has a token.
        let authorized = request.headers.contains_key("authorization");
        if !authorized && !matches!(&*request.method, "GET" | "HEAD") {
            return nothing(401);
        }
        let (_, key) = request.path[1..].split_once('/').unwrap_or_default();
        let upload = request.query.get("uploadId");
        match (&*request.method, upload) {
            ("GET", None) if request.query.contains_key("list-type") => self.list(request),
            ("GET" | "HEAD", None) => self.get(key, request),
            ("PUT", None) => self.put(key, request),
            ("DELETE", None) => match self.objects.remove(key) {
                Some(_) => nothing(204),
                None => nothing(404),
            },
            ("POST", None) if request.query.contains_key("uploads") => self.begin(),
            ("PUT", Some(upload)) => self.put_part(upload, request),
            ("POST", Some(upload)) => self.complete(upload, key),
            ("DELETE", Some(upload)) => match self.uploads.remove(upload) {
                Some(_) => nothing(204),
                None => nothing(404),
            },
            _ => nothing(400),
        }
    }

    fn store(&mut self, key: &str, bytes: Vec<u8>) -> Object {
        self.changes += 1;
        let generation = 1_700_000_000_000_000 + self.changes;
        let object = Object { generation, bytes };
        self.objects.insert(key.to_owned(), object.clone());
        object
    }

    fn put(&mut self, key: &str, request: &Request) -> Answer {
        let held = self.objects.get(key).map_or(0, |object| object.generation);
        if let Some(expected) = request.headers.get("x-goog-if-generation-match")
            && *expected != held.to_string()
        {
            return nothing(412);
        }
        let stored = self.store(key, request.body.clone());
        (200, stored.headers(), Vec::new())
    }

    fn get(&self, key: &str, request: &Request) -> Answer {
        let Some(object) = self.objects.get(key) else {
            return nothing(404);
        };
        let is_own = |tag: &String| *tag == object.tag();
        if request
            .headers
            .get("if-match")
            .is_some_and(|tag| !is_own(tag))
        {
            return nothing(412);
        }
        if request.headers.get("if-none-match").is_some_and(is_own) {
            return (304, object.headers(), Vec::new());
        }
        let (total, mut headers) = (object.bytes.len(), object.headers());
        if request.method == "HEAD" {
            headers += &format!("Content-Length: {total}\r\n");
            return (200, headers, Vec::new());
        }
        let range = request.headers.get("range");
        let range = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let Some((from, to)) = range else {
            return (200, headers, object.bytes.clone());
        };
        let from: usize = from.parse().unwrap();
        if from >= total {
            return nothing(416);
        }
        let to = to.parse().map_or(total, |to: usize| total.min(to + 1));
        headers += &format!("Content-Range: bytes {from}-{}/{total}\r\n", to - 1);
        (206, headers, object.bytes[from..to].to_vec())
    }

    fn list(&self, request: &Request) -> Answer {
        let get = |name: &str| request.query.get(name).cloned().unwrap_or_default();
        let (prefix, after) = (get("prefix"), get("continuation-token"));
        let mut matching = self
            .objects
            .iter()
            .filter(|(key, _)| key.starts_with(&prefix) && **key > after);
        let page: Vec<_> = matching.by_ref().take(PAGE).collect();
        let entries: String = page
            .iter()
            .map(|(key, object)| {
                let (key, tag, size) = (escaped(key), object.tag(), object.bytes.len());
                format!(
                    "<Contents><Key>{key}</Key><LastModified>{LISTED_MODIFIED}</LastModified>\
                     <ETag>{tag}</ETag><Size>{size}</Size></Contents>"
                )
            })
            .collect();
        let next = match (page.last(), matching.next()) {
            (Some((last, _)), Some(_)) => format!(
                "<NextContinuationToken>{}</NextContinuationToken>",
                escaped(last)
            ),
            _ => String::new(),
        };
        let list = format!("<ListBucketResult>{entries}{next}</ListBucketResult>");
        (200, String::new(), list.into())
    }

    fn begin(&mut self) -> Answer {
        self.changes += 1;
        let id = format!("upload-{}", self.changes);
        let xml = format!(
            "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
        );
        self.uploads.insert(id, BTreeMap::new());
        (200, String::new(), xml.into())
    }

    fn put_part(&mut self, upload: &str, request: &Request) -> Answer {
        let number = request.query.get("partNumber").and_then(|n| n.parse().ok());
        let (Some(parts), Some(number)) = (self.uploads.get_mut(upload), number) else {
            return nothing(404);
        };
        parts.insert(number, request.body.clone());
        (200, format!("ETag: \"part-{number}\"\r\n"), Vec::new())
    }

    fn complete(&mut self, upload: &str, key: &str) -> Answer {
        let Some(parts) = self.uploads.remove(upload) else {
            return nothing(404);
        };
        let stored = self.store(key, parts.into_values().flatten().collect());
        let tag = stored.tag();
        let xml = format!(
            "<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>"
        );
        (200, stored.headers(), xml.into())
    }
}
