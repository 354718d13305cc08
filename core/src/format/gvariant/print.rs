//! The text form of values.

use std::fmt::Write;

use super::unprintable::is_unprintable;
use super::{Type, Value, float};

impl Value {
    /// Returns the text form of this value, which [`parse_text`](Self::parse_text) reads.
    ///
    /// With `annotate`, types that the text alone does not imply are spelt out.
    pub fn print(&self, annotate: bool) -> String {
        let mut out = String::new();
        print(&mut out, self, annotate);
        out
    }
}

fn print(out: &mut String, value: &Value, annotate: bool) {
    let mut number = |keyword: &str, value: &dyn std::fmt::Display| {
        if annotate {
            out.push_str(keyword);
        }
        // Writing to a string cannot fail.
        _ = write!(out, "{value}");
    };
    match value {
        Value::Bool(value) => number("", value),
        Value::Byte(value) => number("byte ", &format_args!("0x{value:02x}")),
        Value::I16(value) => number("int16 ", value),
        Value::U16(value) => number("uint16 ", value),
        Value::I32(value) => number("", value),
        Value::U32(value) => number("uint32 ", value),
        Value::I64(value) => number("int64 ", value),
        Value::U64(value) => number("uint64 ", value),
        Value::Handle(value) => number("handle ", value),
        Value::Double(value) => number("", &float::print(*value)),
        Value::Str(text) => number("", &quote(text)),
        Value::ObjectPath(text) => number("objectpath ", &quote(text)),
        Value::Signature(text) => number("signature ", &quote(text)),
        Value::Variant(value) => {
            out.push('<');
            // What is in a variant has no other type to go by.
            print(out, value, true);
            out.push('>');
        }
        Value::Maybe { element, value } => {
            if annotate {
                _ = write!(out, "@m{element} ");
            }
            print_maybe(out, value.as_deref());
        }
        Value::Bytes(bytes) => print_bytes(out, bytes, annotate),
        Value::Array { element, values } => print_array(out, element, values, annotate),
        Value::Tuple(members) => {
            out.push('(');
            print_list(out, members, |_| annotate);
            out.push_str(if members.len() == 1 { ",)" } else { ")" });
        }
        Value::DictEntry(entry) => {
            out.push('{');
            print(out, &entry.0, annotate);
            out.push_str(", ");
            print(out, &entry.1, annotate);
            out.push('}');
        }
    }
}

/// Prints what is in a maybe, of which the depth is only told where there is nothing in it.
fn print_maybe(out: &mut String, value: Option<&Value>) {
    let mut justs = 0;
    let mut inner = value;
    while let Some(Value::Maybe { value, .. }) = inner {
        justs += 1;
        inner = value.as_deref();
    }
    match inner {
        Some(value) => print(out, value, false),
        None => {
            out.push_str(&"just ".repeat(justs));
            out.push_str("nothing");
        }
    }
}

fn print_array(out: &mut String, element: &Type, values: &[Value], annotate: bool) {
    let is_dict = matches!(element, Type::DictEntry(_));
    if values.is_empty() && annotate {
        _ = write!(out, "@a{element} ");
    }
    out.push(if is_dict { '{' } else { '[' });
    // The first element tells the type of all.
    let annotate = |index| annotate && index == 0;
    if is_dict {
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                out.push_str(", ");
            }
            if let Value::DictEntry(entry) = value {
                print(out, &entry.0, annotate(index));
                out.push_str(": ");
                print(out, &entry.1, annotate(index));
            }
        }
    } else {
        print_list(out, values, annotate);
    }
    out.push(if is_dict { '}' } else { ']' });
}

fn print_list(out: &mut String, values: &[Value], annotate: impl Fn(usize) -> bool) {
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        print(out, value, annotate(index));
    }
}

/// Prints an `ay`, as text if it is a C string and as numbers otherwise.
fn print_bytes(out: &mut String, bytes: &[u8], annotate: bool) {
    if let Some((0, text)) = bytes.split_last()
        && !text.contains(&0)
    {
        let quote = if text.contains(&b'\'') { '"' } else { '\'' };
        out.push('b');
        out.push(quote);
        text.iter().for_each(|&byte| print_escaped_byte(out, byte));
        out.push(quote);
        return;
    }
    if annotate {
        out.push_str(if bytes.is_empty() { "@ay " } else { "" });
    }
    out.push('[');
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        } else if annotate {
            out.push_str("byte ");
        }
        _ = write!(out, "0x{byte:02x}");
    }
    out.push(']');
}

fn print_escaped_byte(out: &mut String, byte: u8) {
    match byte {
        0x08 => out.push_str("\\b"),
        0x0c => out.push_str("\\f"),
        b'\n' => out.push_str("\\n"),
        b'\r' => out.push_str("\\r"),
        b'\t' => out.push_str("\\t"),
        0x0b => out.push_str("\\v"),
        b'\\' => out.push_str("\\\\"),
        b'"' => out.push_str("\\\""),
        b' '..=b'~' => out.push(char::from(byte)),
        _ => _ = write!(out, "\\{byte:03o}"),
    }
}

/// Returns `text` in quotes, with what cannot be seen escaped.
fn quote(text: &str) -> String {
    let quote = if text.contains('\'') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if !is_unprintable(c) => out.push(c),
            c if u32::from(c) < 0x10000 => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c => _ = write!(out, "\\U{:08x}", u32::from(c)),
        }
    }
    out.push(quote);
    out
}
