//! Key files as read and written by GLib 2.74.

/// An entry: group, key, raw value, and what it is as string, list and boolean.
pub(crate) type Entry = (
    &'static str,
    &'static str,
    &'static str,
    Option<&'static str>,
    Option<&'static [&'static str]>,
    Option<bool>,
);

/// Files and the entries in them.
#[rustfmt::skip]
pub(crate) static FILES: &[(&str, &[Entry])] = &[
    ("[g]\na=1", &[
        ("g", "a", "1", Some("1"), Some(&["1"]), Some(true)),
    ]),
    ("[g]\n a = 1 \n", &[
        ("g", "a", "1 ", Some("1 "), Some(&["1 "]), Some(true)),
    ]),
    ("[g]\na=1\na=2\n", &[
        ("g", "a", "2", Some("2"), Some(&["2"]), None),
    ]),
    ("[g]\na=1\n[h]\nb=1\n[g]\nc=3\na=9\n", &[
        ("g", "a", "9", Some("9"), Some(&["9"]), None),
        ("g", "c", "3", Some("3"), Some(&["3"]), None),
        ("h", "b", "1", Some("1"), Some(&["1"]), Some(true)),
    ]),
    (" [g]\na=1\n", &[
        ("g", "a", "1", Some("1"), Some(&["1"]), Some(true)),
    ]),
    ("[g] \na=1\n", &[
        ("g", "a", "1", Some("1"), Some(&["1"]), Some(true)),
    ]),
    ("[g]\na=\n", &[
        ("g", "a", "", Some(""), Some(&[]), None),
    ]),
    ("[g]\na\t=\tb\n", &[
        ("g", "a", "b", Some("b"), Some(&["b"]), None),
    ]),
    ("[g]\na b=1\n", &[
        ("g", "a b", "1", Some("1"), Some(&["1"]), Some(true)),
    ]),
    ("[g]\na=\\q\n", &[
        ("g", "a", "\\q", None, None, None),
    ]),
    ("[g]\na=\\s\\t\\n\\r\\\\x\n", &[
        ("g", "a", "\\s\\t\\n\\r\\\\x", Some(" \t\n\r\\x"), Some(&[" \t\n\r\\x"]), None),
    ]),
    ("[g]\na=x\\\n", &[
        ("g", "a", "x\\", None, None, None),
    ]),
    ("[g]\na=x;y;z\nb=x;y;\nc=;\nd=x\\;y;z\ne=;;\nf=\ng=a;\\s b\n", &[
        ("g", "a", "x;y;z", Some("x;y;z"), Some(&["x", "y", "z"]), None),
        ("g", "b", "x;y;", Some("x;y;"), Some(&["x", "y"]), None),
        ("g", "c", ";", Some(";"), Some(&[""]), None),
        ("g", "d", "x\\;y;z", None, Some(&["x;y", "z"]), None),
        ("g", "e", ";;", Some(";;"), Some(&["", ""]), None),
        ("g", "f", "", Some(""), Some(&[]), None),
        ("g", "g", "a;\\s b", Some("a;  b"), Some(&["a", "  b"]), None),
    ]),
    ("[g]\na=true\nb=1\nc=0\nd=TRUE\ne=true \nf=yes\n", &[
        ("g", "a", "true", Some("true"), Some(&["true"]), Some(true)),
        ("g", "b", "1", Some("1"), Some(&["1"]), Some(true)),
        ("g", "c", "0", Some("0"), Some(&["0"]), Some(false)),
        ("g", "d", "TRUE", Some("TRUE"), Some(&["TRUE"]), None),
        ("g", "e", "true ", Some("true "), Some(&["true "]), Some(true)),
        ("g", "f", "yes", Some("yes"), Some(&["yes"]), None),
    ]),
    ("[g]\na=12\nb=-3\nc=12x\nd= 12 \ne=+5\nf=0x10\ng=18446744073709551615\nh=18446744073709551616\ni=1 2\n", &[
        ("g", "a", "12", Some("12"), Some(&["12"]), None),
        ("g", "b", "-3", Some("-3"), Some(&["-3"]), None),
        ("g", "c", "12x", Some("12x"), Some(&["12x"]), None),
        ("g", "d", "12 ", Some("12 "), Some(&["12 "]), None),
        ("g", "e", "+5", Some("+5"), Some(&["+5"]), None),
        ("g", "f", "0x10", Some("0x10"), Some(&["0x10"]), None),
        ("g", "g", "18446744073709551615", Some("18446744073709551615"), Some(&["18446744073709551615"]), None),
        ("g", "h", "18446744073709551616", Some("18446744073709551616"), Some(&["18446744073709551616"]), None),
        ("g", "i", "1 2", Some("1 2"), Some(&["1 2"]), None),
    ]),
    ("[g]\r\na=1\r\n", &[
        ("g", "a", "1", Some("1"), Some(&["1"]), Some(true)),
    ]),
    ("[g h]\na=1\n", &[
        ("g h", "a", "1", Some("1"), Some(&["1"]), Some(true)),
    ]),
    ("[remote \"o\"]\nurl=\"x\"\n", &[
        ("remote \"o\"", "url", "\"x\"", Some("\"x\""), Some(&["\"x\""]), None),
    ]),
    ("[g]\na=\u{e9}\n", &[
        ("g", "a", "\u{e9}", Some("\u{e9}"), Some(&["\u{e9}"]), None),
    ]),
    ("[g]\n\u{e9}=1\n", &[
        ("g", "\u{e9}", "1", Some("1"), Some(&["1"]), Some(true)),
    ]),
    ("[g]\na=b=c\n", &[
        ("g", "a", "b=c", Some("b=c"), Some(&["b=c"]), None),
    ]),
    ("[g]\na=b\\=c\n", &[
        ("g", "a", "b\\=c", None, None, None),
    ]),
    ("[g]\n\n\na=1\n\n#c\nb=2\n\n[h]\n#x\n\nz=1\n", &[
        ("g", "a", "1", Some("1"), Some(&["1"]), Some(true)),
        ("g", "b", "2", Some("2"), Some(&["2"]), None),
        ("h", "z", "1", Some("1"), Some(&["1"]), Some(true)),
    ]),
    ("[g]\na=a\tb\n", &[
        ("g", "a", "a\tb", Some("a\tb"), Some(&["a\tb"]), None),
    ]),
    ("[g]\na/b=1\na.b=2\n-x=3\n", &[
        ("g", "a/b", "1", Some("1"), Some(&["1"]), Some(true)),
        ("g", "a.b", "2", Some("2"), Some(&["2"]), None),
        ("g", "-x", "3", Some("3"), Some(&["3"]), None),
    ]),
    ("[g]\n[ g ]\na=1\n", &[
        (" g ", "a", "1", Some("1"), Some(&["1"]), Some(true)),
    ]),
    ("#c\n[g]\n#d\na=1\n#e\n", &[
        ("g", "a", "1", Some("1"), Some(&["1"]), Some(true)),
    ]),
    ("[g]\na =1\na=2\n", &[
        ("g", "a", "2", Some("2"), Some(&["2"]), None),
    ]),
    ("[g]\n\u{b}a=1\n", &[
        ("g", "\u{b}a", "1", Some("1"), Some(&["1"]), Some(true)),
    ]),
    ("[g]\na=\u{b}1\n", &[
        ("g", "a", "\u{b}1", Some("\u{b}1"), Some(&["\u{b}1"]), None),
    ]),
    ("[g]\na\u{b}=1\n", &[
        ("g", "a\u{b}", "1", Some("1"), Some(&["1"]), Some(true)),
    ]),
    ("[g]\n\ta=1\n", &[
        ("g", "a", "1", Some("1"), Some(&["1"]), Some(true)),
    ]),
    ("[g]\na[]=1\n", &[
        ("g", "a[]", "1", Some("1"), Some(&["1"]), Some(true)),
    ]),
];

/// Files that are refused.
#[rustfmt::skip]
pub(crate) static REFUSED: &[&str] = &[
    "a=1\n",
    "[g] x\na=1\n",
    "[]\na=1\n",
    "[g]\n=1\n",
    "[g]\nfoo\n",
    "[g]\n;c\n",
    "[g]\na[=1\n",
    "[g]\na]=1\n",
    "[g[]\na=1\n",
    "[g]]\na=1\n",
    "[g\na=1\n",
    "\u{feff}[g]\na=1\n",
    "[\tg]\na=1\n",
    "[g]\u{b}\na=1\n",
    "[g]\na@b=1\na[de@x]=2\na[d e]=3\n",
    "[g]\na[de]x=1\n",
];

/// Strings, how they are written, and how a list of them and `z;` is written.
#[rustfmt::skip]
pub(crate) static ESCAPED: &[[&str; 3]] = &[
    [" a", "\\sa", "\\sa;z\\;;"],
    [" \t a", "\\s\\t\\sa", "\\s\\t\\sa;z\\;;"],
    ["\ta", "\\ta", "\\ta;z\\;;"],
    ["a b ", "a b ", "a b ;z\\;;"],
    ["a\nb\r\t\\", "a\\nb\\r\t\\\\", "a\\nb\\r\t\\\\;z\\;;"],
    ["a;b", "a;b", "a\\;b;z\\;;"],
    ["\\s", "\\\\s", "\\\\s;z\\;;"],
    ["\u{e9}", "\u{e9}", "\u{e9};z\\;;"],
    ["", "", ";z\\;;"],
    ["a\u{1}", "a\u{1}", "a\u{1};z\\;;"],
    ["\n a", "\\n\\sa", "\\n\\sa;z\\;;"],
    ["\r\ta", "\\r\\ta", "\\r\\ta;z\\;;"],
    ["a; b", "a; b", "a\\;\\sb;z\\;;"],
    ["a;\n b", "a;\\n b", "a\\;\\n\\sb;z\\;;"],
    ["a\\ b", "a\\\\ b", "a\\\\ b;z\\;;"],
    ["; x", "; x", "\\;\\sx;z\\;;"],
];
