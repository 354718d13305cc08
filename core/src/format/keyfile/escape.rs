//! Escapes in the values of a key file.

/// Returns the string that a value stands for, unless there is an unknown escape in it.
pub(super) fn unescape_string(value: &str) -> Option<String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' {
            unescape(chars.next()?)?
        } else {
            c
        });
    }
    Some(out)
}

/// Returns the strings that a value stands for as a list, which may end in a semicolon.
pub(super) fn unescape_list(value: &str) -> Option<Vec<String>> {
    let mut list = Vec::new();
    let mut item = String::new();
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            ';' => list.push(std::mem::take(&mut item)),
            '\\' => match chars.next()? {
                ';' => item.push(';'),
                c => item.push(unescape(c)?),
            },
            c => item.push(c),
        }
    }
    if !item.is_empty() {
        list.push(item);
    }
    Some(list)
}

fn unescape(c: char) -> Option<char> {
    Some(match c {
        's' => ' ',
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        '\\' => '\\',
        _ => return None,
    })
}

/// Returns `text` as the value of a key.
pub(super) fn escape_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    escape(&mut out, text, false);
    out
}

/// Returns `items` as the value of a key.
pub(super) fn escape_list<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    let mut out = String::new();
    for item in items {
        escape(&mut out, item.as_ref(), true);
        out.push(';');
    }
    out
}

fn escape(out: &mut String, text: &str, in_list: bool) {
    // Blanks are only lost at the start of a value. GLib also takes those for the start that come
    // after a line end or, in lists, after a semicolon.
    let mut leading = true;
    for c in text.chars() {
        match c {
            ' ' if leading => out.push_str("\\s"),
            '\t' if leading => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\\' => out.push_str("\\\\"),
            ';' if in_list => out.push_str("\\;"),
            c => out.push(c),
        }
        leading = match c {
            ' ' | '\t' | '\n' | '\r' => leading,
            ';' => in_list,
            _ => false,
        };
    }
}
