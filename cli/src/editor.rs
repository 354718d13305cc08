//! A commit message written in the user's editor.

use std::io::Write;
use std::process::Command;

use crate::failure::{Failure, Result, io_failure};
use crate::file_text;

/// Subject and body of a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) subject: String,
    pub(crate) body: String,
}

/// Lets the user edit `message` for a commit to `branch`.
pub(crate) fn edit(message: &Message, branch: Option<&str>) -> Result<Message> {
    let editor = editor();
    let mut file = tempfile::Builder::new()
        .prefix("COMMIT_EDITMSG.")
        .tempfile()
        .map_err(|e| io_failure(std::env::temp_dir(), &e))?;
    let path = file.path().to_owned();
    file.write_all(template(message, branch).as_bytes())
        .map_err(|e| io_failure(&path, &e))?;
    // The shell splits what the variable holds: editors come with options.
    let status = Command::new("/bin/sh")
        .args(["-c", &format!("{editor} \"$1\""), "sh"])
        .arg(&path)
        .status()
        .map_err(|e| {
            Failure::new(format!(
                "There was a problem with the editor '{editor}': {e}"
            ))
        })?;
    if !status.success() {
        let message = format!("There was a problem with the editor '{editor}': {status}");
        return Err(Failure::new(message));
    }
    let edited = parse(&file_text::read_text(&path)?);
    match edited.subject.is_empty() {
        true => Err(Failure::new("Aborting commit due to empty commit subject.")),
        false => Ok(edited),
    }
}

fn editor() -> String {
    let names = ["OSTREE_EDITOR", "VISUAL", "EDITOR"];
    let values = names.iter().filter_map(|name| std::env::var(name).ok());
    let mut values = values.filter(|value| !value.trim().is_empty());
    values.next().unwrap_or_else(|| "vi".to_owned())
}

fn template(message: &Message, branch: Option<&str>) -> String {
    let mut text = message.subject.clone();
    if !message.body.is_empty() {
        text += "\n\n";
        text += &message.body;
    }
    text += "\n# Please enter the commit message for your changes. The first line will\n\
             # become the subject, and the remainder the body. Lines starting\n\
             # with '#' will be ignored, and an empty message aborts the commit.\n";
    if let Some(branch) = branch {
        text += &format!("#\n# Branch: {branch}\n");
    }
    text
}

/// Reads what was edited as OSTree does, for the message is part of what a commit is named by: blanks
/// at the ends of lines go, those before a subject stay.
fn parse(text: &str) -> Message {
    let lines = text.split('\n').filter(|line| !line.starts_with('#'));
    let lines = lines.map(|line| line.trim_end_matches(|c: char| c.is_ascii_whitespace()));
    let mut lines = lines.skip_while(|line| line.is_empty());
    let subject = lines.next().unwrap_or_default().to_owned();
    let body: Vec<_> = lines.skip_while(|line| line.is_empty()).collect();
    Message {
        subject,
        body: body.join("\n").trim_end_matches('\n').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_edited_comes_back_as_it_was() {
        for (subject, body) in [("one", ""), ("one", "two\n\nthree"), ("", "")] {
            let message = Message {
                subject: subject.to_owned(),
                body: body.to_owned(),
            };
            assert_eq!(parse(&template(&message, Some("os/stable"))), message);
        }
    }

    #[test]
    fn comments_are_no_part_of_the_message() {
        let message = parse("# c\n\n Subject \n\nline\n# c\nline 2\n\n");
        assert_eq!(message.subject, " Subject");
        assert_eq!(message.body, "line\nline 2");
    }
}
