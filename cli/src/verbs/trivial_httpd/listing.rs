//! What is answered for a directory: where it is, its index, or a list of what is in it.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use treeferry_transport_http::{Answer, Asked, Verdict};

/// Decides what is answered for what lies at the path that was asked for, below `root`.
pub(super) async fn of(root: &Path, asked: Asked) -> Verdict {
    let root = root.to_owned();
    let looked = tokio::task::spawn_blocking(move || look(&root, &asked));
    looked
        .await
        .unwrap_or_else(|_| Verdict::Answer(Answer::status(500)))
}

fn look(root: &Path, asked: &Asked) -> Verdict {
    // A path that is no plain path is refused by the server, as it refuses all such.
    let Some(path) = asked.path_below().map(|path| root.join(path)) else {
        return Verdict::File;
    };
    let asked = &asked.path;
    let Ok(metadata) = fs::metadata(&path) else {
        return Verdict::File;
    };
    // Others on this machine could not read it either.
    let needed = if metadata.is_dir() { 0o005 } else { 0o004 };
    if metadata.permissions().mode() & needed != needed {
        return Verdict::Answer(Answer::status(403));
    }
    if !metadata.is_dir() {
        return Verdict::File;
    }
    if !asked.ends_with('/') {
        let there = format!("{asked}/");
        return Verdict::Answer(Answer::status(301).header("Location", &there));
    }
    if path.join("index.html").exists() {
        return Verdict::FileAt(format!("{asked}index.html"));
    }
    match list(&path, asked) {
        Ok(text) => {
            let answer = Answer::status(200).header("Content-Type", "text/html; charset=utf-8");
            Verdict::Answer(answer.body(text))
        }
        Err(_) => Verdict::Answer(Answer::status(500)),
    }
}

fn list(path: &Path, asked: &str) -> std::io::Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(escaped(&entry?.file_name().to_string_lossy()));
    }
    names.sort();
    let title = format!("Index of {}", escaped(asked));
    let mut text = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body><h1>{title}</h1>\r\n<p>\r\n"
    );
    for name in names {
        // Writing to a text cannot fail.
        let _ = write!(text, "<a href=\"{name}\">{name}</a><br>\r\n");
    }
    Ok(text + "</body>\r\n</html>\r\n")
}

/// Returns `text` with what HTML would take for its own written out.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
