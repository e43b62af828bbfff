//! Python's values, as far as the release's rules can see them: `==`, `str`, `repr`, `json.loads`, `json.dumps`.
//!
//! Whole numbers have any size, dictionaries keep the order and the last value of a key, `True == 1 == 1.0`, and
//! `json.loads` takes `NaN` and `Infinity`. Checked against CPython 3.11 by the golden files.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

/// How deep values may nest before they count as unparsable. CPython 3.11 stops near 1,000 frames.
pub(super) const MAX_DEPTH: usize = 900;

/// A Python value.
#[derive(Clone, Debug)]
pub(super) enum Py {
    None,
    Bool(bool),
    /// Decimal digits with an optional `-`, without leading zeros.
    Int(String),
    Float(f64),
    Str(String),
    Bytes(Vec<u8>),
    List(Vec<Py>),
    Tuple(Vec<Py>),
    Set(Vec<Py>),
    Dict(Dict),
    Ellipsis,
}

/// What makes two dictionary keys the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    None,
    Int(String),
    Float(u64),
    Str(String),
    Bytes(Vec<u8>),
    Tuple(Vec<Key>),
    Ellipsis,
}

impl Key {
    /// `None` for what Python cannot hash.
    fn of(value: &Py) -> Option<Self> {
        Some(match value {
            Py::None => Self::None,
            Py::Bool(b) => Self::Int(u8::from(*b).to_string()),
            Py::Int(digits) => Self::Int(digits.clone()),
            Py::Float(f) => whole(*f).map_or(Self::Float(f.to_bits()), Self::Int),
            Py::Str(text) => Self::Str(text.clone()),
            Py::Bytes(bytes) => Self::Bytes(bytes.clone()),
            Py::Tuple(items) => Self::Tuple(items.iter().map(Self::of).collect::<Option<_>>()?),
            Py::Ellipsis => Self::Ellipsis,
            Py::List(_) | Py::Set(_) | Py::Dict(_) => return None,
        })
    }
}

/// A dictionary in insertion order.
#[derive(Clone, Debug, Default)]
pub(super) struct Dict {
    entries: Vec<(Py, Py)>,
    index: HashMap<Key, usize>,
}

impl Dict {
    /// Sets a key; `None` if it cannot be hashed.
    pub(super) fn insert(&mut self, key: Py, value: Py) -> Option<()> {
        let at = *self.index.entry(Key::of(&key)?).or_insert(self.entries.len());
        match self.entries.get_mut(at) {
            Some(entry) => entry.1 = value,
            None => self.entries.push((key, value)),
        }
        Some(())
    }

    fn set(&mut self, key: &str, value: Py) {
        // A string can always be hashed.
        let _ = self.insert(Py::Str(key.to_owned()), value);
    }

    pub(super) fn get(&self, key: &str) -> Option<&Py> {
        self.get_key(&Key::Str(key.to_owned()))
    }

    fn get_key(&self, key: &Key) -> Option<&Py> {
        self.index.get(key).map(|at| &self.entries[*at].1)
    }

    /// The value under the same key as in another dictionary.
    pub(super) fn get_same(&self, key: &Py) -> Option<&Py> {
        self.get_key(&Key::of(key)?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Py, &Py)> {
        self.entries.iter().map(|(k, v)| (k, v))
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn without(&self, keys: &[&str]) -> Self {
        let mut rest = Self::default();
        for (key, value) in
            self.iter().filter(|(k, _)| !matches!(k, Py::Str(k) if keys.contains(&k.as_str())))
        {
            let _ = rest.insert(key.clone(), value.clone());
        }
        rest
    }
}

impl Py {
    pub(super) fn as_str(&self) -> Option<&str> {
        if let Self::Str(text) = self { Some(text) } else { None }
    }

    pub(super) fn as_dict(&self) -> Option<&Dict> {
        if let Self::Dict(dict) = self { Some(dict) } else { None }
    }

    /// Python's truth value.
    pub(super) fn truthy(&self) -> bool {
        match self {
            Self::None => false,
            Self::Bool(b) => *b,
            Self::Int(digits) => digits != "0",
            Self::Float(f) => *f != 0.0,
            Self::Str(text) => !text.is_empty(),
            Self::Bytes(bytes) => !bytes.is_empty(),
            Self::List(items) | Self::Tuple(items) | Self::Set(items) => !items.is_empty(),
            Self::Dict(dict) => dict.len() > 0,
            Self::Ellipsis => true,
        }
    }

    /// Python's `==`.
    pub(super) fn equals(&self, other: &Self) -> bool {
        let all = |a: &[Self], b: &[Self]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.equals(b));
        match (self, other) {
            (Self::None, Self::None) | (Self::Ellipsis, Self::Ellipsis) => true,
            (Self::Str(a), Self::Str(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::List(a), Self::List(b)) | (Self::Tuple(a), Self::Tuple(b)) => all(a, b),
            (Self::Set(a), Self::Set(b)) => {
                a.len() == b.len() && a.iter().all(|a| b.iter().any(|b| a.equals(b)))
            }
            (Self::Dict(a), Self::Dict(b)) => {
                a.len() == b.len() && a.iter().all(|(k, a)| b.get_same(k).is_some_and(|b| a.equals(b)))
            }
            (Self::Float(a), Self::Float(b)) => a == b,
            (Self::Float(f), int @ (Self::Int(_) | Self::Bool(_)))
            | (int @ (Self::Int(_) | Self::Bool(_)), Self::Float(f)) => {
                whole(*f).as_deref() == int.int().as_deref()
            }
            _ => match (self.int(), other.int()) {
                (Some(a), Some(b)) => a == b,
                _ => false,
            },
        }
    }

    /// The digits of an `int`, of which `bool` is one.
    fn int(&self) -> Option<String> {
        match self {
            Self::Bool(b) => Some(u8::from(*b).to_string()),
            Self::Int(digits) => Some(digits.clone()),
            _ => None,
        }
    }

    /// Python's `str(x)`.
    pub(super) fn display(&self) -> String {
        if let Self::Str(text) = self {
            return text.clone();
        }
        let mut out = String::new();
        self.repr(&mut out);
        out
    }

    /// Python's `repr(x)`.
    fn repr(&self, out: &mut String) {
        fn list(out: &mut String, items: &[Py], open: &str, close: &str) {
            out.push_str(open);
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                item.repr(out);
            }
            out.push_str(close);
        }
        match self {
            Self::None => out.push_str("None"),
            Self::Bool(b) => out.push_str(if *b { "True" } else { "False" }),
            Self::Int(digits) => out.push_str(digits),
            Self::Float(f) => out.push_str(&float_repr(*f)),
            Self::Str(text) => str_repr(text, out),
            Self::Bytes(bytes) => {
                out.push('b');
                str_repr(&bytes.iter().map(|b| char::from(*b)).collect::<String>(), out);
            }
            Self::List(items) => list(out, items, "[", "]"),
            Self::Tuple(items) => list(out, items, "(", if items.len() == 1 { ",)" } else { ")" }),
            Self::Set(items) if items.is_empty() => out.push_str("set()"),
            Self::Set(items) => list(out, items, "{", "}"),
            Self::Dict(dict) => {
                out.push('{');
                for (at, (key, value)) in dict.iter().enumerate() {
                    if at > 0 {
                        out.push_str(", ");
                    }
                    key.repr(out);
                    out.push_str(": ");
                    value.repr(out);
                }
                out.push('}');
            }
            Self::Ellipsis => out.push_str("Ellipsis"),
        }
    }

    /// The release's canonical text of a value: `json.dumps(.., sort_keys=True)` of what can be written as JSON.
    pub(super) fn canonical(&self) -> String {
        let mut out = String::new();
        self.dump(&mut out);
        out
    }

    fn dump(&self, out: &mut String) {
        let quote = |text: &str, out: &mut String| out.push_str(&Value::from(text).to_string());
        let joined = |items: Vec<String>, out: &mut String| {
            let _ = write!(out, "[{}]", items.join(","));
        };
        match self {
            Self::None => out.push_str("null"),
            Self::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            Self::Int(digits) => out.push_str(digits),
            Self::Float(f) if f.is_nan() => out.push_str("NaN"),
            Self::Float(f) if f.is_infinite() => {
                out.push_str(if *f > 0.0 { "Infinity" } else { "-Infinity" })
            }
            Self::Float(f) => out.push_str(&float_repr(*f)),
            Self::Str(text) => quote(text, out),
            Self::Bytes(bytes) => quote(&String::from_utf8_lossy(bytes), out),
            Self::List(items) | Self::Tuple(items) => {
                joined(items.iter().map(Self::canonical).collect(), out)
            }
            Self::Set(items) => {
                let mut items: Vec<String> = items.iter().map(Self::canonical).collect();
                items.sort_unstable();
                joined(items, out);
            }
            Self::Dict(dict) => {
                let mut entries: Vec<(String, String)> =
                    dict.iter().map(|(k, v)| (k.display(), v.canonical())).collect();
                entries.sort();
                // Keys that differ in Python may be the same text: the last one stays.
                let mut plain: Vec<(String, String)> = Vec::with_capacity(entries.len());
                for entry in entries {
                    match plain.last_mut() {
                        Some(last) if last.0 == entry.0 => *last = entry,
                        _ => plain.push(entry),
                    }
                }
                out.push('{');
                for (at, (key, value)) in plain.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    quote(key, out);
                    out.push(':');
                    out.push_str(value);
                }
                out.push('}');
            }
            Self::Ellipsis => quote("<ELLIPSIS>", out),
        }
    }

    /// The value as JSON for printing; what JSON cannot say becomes the nearest that it can.
    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::None => Value::Null,
            Self::Bool(b) => Value::Bool(*b),
            Self::Int(digits) => {
                serde_json::from_str(digits).unwrap_or_else(|_| Value::String(digits.clone()))
            }
            Self::Float(f) => {
                Number::from_f64(*f).map_or_else(|| Value::String(float_repr(*f)), Value::Number)
            }
            Self::Str(text) => Value::String(text.clone()),
            Self::Bytes(bytes) => Value::String(String::from_utf8_lossy(bytes).into_owned()),
            Self::List(items) | Self::Tuple(items) | Self::Set(items) => {
                items.iter().map(Self::to_json).collect()
            }
            Self::Dict(dict) => {
                dict.iter().map(|(k, v)| (k.display(), v.to_json())).collect::<Map<_, _>>().into()
            }
            Self::Ellipsis => Value::String("<ELLIPSIS>".into()),
        }
    }

    /// A value that was read as JSON already.
    pub(super) fn from_json(value: &Value) -> Self {
        match value {
            Value::Null => Self::None,
            Value::Bool(b) => Self::Bool(*b),
            Value::Number(n) if n.is_f64() => Self::Float(n.as_f64().unwrap_or(f64::NAN)),
            Value::Number(n) => Self::Int(n.to_string()),
            Value::String(text) => Self::Str(text.clone()),
            Value::Array(items) => Self::List(items.iter().map(Self::from_json).collect()),
            Value::Object(object) => {
                let mut dict = Dict::default();
                for (key, value) in object {
                    dict.set(key, Self::from_json(value));
                }
                Self::Dict(dict)
            }
        }
    }
}

/// The digits of a float that is a whole number.
fn whole(f: f64) -> Option<String> {
    let text = if f.is_finite() && f.fract() == 0.0 { format!("{f:.0}") } else { return None };
    Some(if text == "-0" { "0".into() } else { text })
}

/// Digits without leading zeros; `-0` is 0, as in Python.
pub(super) fn int_from(negative: bool, digits: &str) -> String {
    let digits = digits.trim_start_matches('0');
    match (digits.is_empty(), negative) {
        (true, _) => "0".into(),
        (false, true) => format!("-{digits}"),
        (false, false) => digits.to_owned(),
    }
}

/// Python's `repr` of a float: the shortest digits, with an exponent below 1e-4 and from 1e16.
pub(super) fn float_repr(f: f64) -> String {
    if f.is_nan() {
        return "nan".into();
    }
    if f.is_infinite() {
        return if f > 0.0 { "inf" } else { "-inf" }.into();
    }
    let magnitude = f.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let text = format!("{f:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |d| ('-', d));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    let text = format!("{f}");
    if text.contains('.') { text } else { text + ".0" }
}

fn str_repr(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            // What Python calls not printable: controls, and every space but the plain one.
            c if c.is_control() || (c != ' ' && c.is_whitespace()) => {
                let n = u32::from(c);
                let _ = if n < 0x100 { write!(out, "\\x{n:02x}") } else { write!(out, "\\u{n:04x}") };
            }
            c => out.push(c),
        }
    }
    out.push(quote);
}

/// Python's white space: Unicode's, and the four ASCII separators.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// Python's `str.strip()`.
pub(super) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Python's `" ".join(text.split())`.
pub(super) fn collapse(text: &str) -> String {
    text.split(is_space).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The zeros of Unicode's decimal digits (category Nd), each followed by its nine others; Unicode 14, as in CPython
/// 3.11.
const ZEROS: [u32; 66] = [
    0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50,
    0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40,
    0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30, 0x11066,
    0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950,
    0x11c50, 0x11d50, 0x11da0, 0x16a60, 0x16ac0, 0x16b50, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6,
    0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0,
];

/// The value of a decimal digit of any script, as Python's `\d` and `float` take them.
pub(super) fn digit(c: char) -> Option<u32> {
    if c.is_ascii() {
        return c.to_digit(10);
    }
    let n = u32::from(c);
    let at = ZEROS.partition_point(|zero| *zero <= n).checked_sub(1)?;
    (n - ZEROS[at] < 10).then(|| n - ZEROS[at])
}

/// Python's `float(text)`.
pub(super) fn float(text: &str) -> Option<f64> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = strip(text).chars().peekable();
    while let Some(c) = chars.next() {
        match digit(c) {
            Some(d) => plain.extend(char::from_digit(d, 10)),
            // An underscore stands between two digits only.
            None if c == '_' => {
                let inside = plain.ends_with(|c: char| c.is_ascii_digit());
                if !inside || chars.peek().copied().and_then(digit).is_none() {
                    return None;
                }
            }
            None => plain.push(c),
        }
    }
    // Rust's own grammar is Python's but for these: it takes no `nan` with a sign less, and nothing more.
    plain.parse().ok()
}

/// Python's `json.loads`.
pub(super) fn loads(text: &str) -> Option<Py> {
    let mut reader = Reader { text, at: 0 };
    reader.blank();
    let value = reader.value(MAX_DEPTH)?;
    reader.blank();
    (reader.at == text.len()).then_some(value)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn value(&mut self, depth: usize) -> Option<Py> {
        match self.peek()? {
            b'"' => self.string().map(Py::Str),
            b'[' => self.list(depth.checked_sub(1)?),
            b'{' => self.dict(depth.checked_sub(1)?),
            _ => {
                let words = [
                    ("null", Py::None),
                    ("true", Py::Bool(true)),
                    ("false", Py::Bool(false)),
                    ("NaN", Py::Float(f64::NAN)),
                    ("Infinity", Py::Float(f64::INFINITY)),
                    ("-Infinity", Py::Float(f64::NEG_INFINITY)),
                ];
                words
                    .into_iter()
                    .find_map(|(word, value)| self.take(word).then_some(value))
                    .or_else(|| self.number())
            }
        }
    }

    fn list(&mut self, depth: usize) -> Option<Py> {
        self.at += 1;
        let mut items = Vec::new();
        self.blank();
        if self.take("]") {
            return Some(Py::List(items));
        }
        loop {
            self.blank();
            items.push(self.value(depth)?);
            self.blank();
            if self.take("]") {
                return Some(Py::List(items));
            }
            self.take(",").then_some(())?;
        }
    }

    fn dict(&mut self, depth: usize) -> Option<Py> {
        self.at += 1;
        let mut dict = Dict::default();
        self.blank();
        if self.take("}") {
            return Some(Py::Dict(dict));
        }
        loop {
            self.blank();
            (self.peek()? == b'"').then_some(())?;
            let key = self.string()?;
            self.blank();
            self.take(":").then_some(())?;
            self.blank();
            let value = self.value(depth)?;
            dict.set(&key, value);
            self.blank();
            if self.take("}") {
                return Some(Py::Dict(dict));
            }
            self.take(",").then_some(())?;
        }
    }

    fn digits(&mut self) -> &str {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    fn number(&mut self) -> Option<Py> {
        let start = self.at;
        let negative = self.take("-");
        let from = self.at;
        if !self.take("0") && self.digits().is_empty() {
            return None;
        }
        let whole = self.at;
        let mut is_float = false;
        if self.peek() == Some(b'.') && self.text.as_bytes().get(self.at + 1).is_some_and(u8::is_ascii_digit)
        {
            self.at += 1;
            self.digits();
            is_float = true;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            let before = self.at;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits().is_empty() {
                self.at = before;
            } else {
                is_float = true;
            }
        }
        if is_float {
            return self.text[start..self.at].parse().ok().map(Py::Float);
        }
        // Python refuses to read more digits than this, against quadratic time.
        let digits = &self.text[from..whole];
        (digits.len() <= 4300).then(|| Py::Int(int_from(negative, digits)))
    }

    fn string(&mut self) -> Option<String> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let plain = self.rest().find(|c: char| c == '"' || c == '\\' || c < ' ')?;
            out.push_str(&self.text[self.at..self.at + plain]);
            self.at += plain;
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(out);
                }
                b'\\' => {
                    self.at += 2;
                    out.push(match self.text.as_bytes().get(self.at - 1)? {
                        b'"' => '"',
                        b'\\' => '\\',
                        b'/' => '/',
                        b'b' => '\u{8}',
                        b'f' => '\u{c}',
                        b'n' => '\n',
                        b'r' => '\r',
                        b't' => '\t',
                        b'u' => self.escape()?,
                        _ => return None,
                    });
                }
                _ => return None,
            }
        }
    }

    /// Four hexadecimal digits, or twice four as a pair of surrogates. A lone surrogate, which Python keeps, cannot
    /// stand in Rust's strings and becomes the replacement character.
    fn escape(&mut self) -> Option<char> {
        let high = self.hex4()?;
        if (0xd800..0xdc00).contains(&high) && self.rest().starts_with("\\u") {
            let back = self.at;
            self.at += 2;
            match self.hex4() {
                Some(low @ 0xdc00..0xe000) => {
                    return char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
                }
                _ => self.at = back,
            }
        }
        Some(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits =
            self.text.get(self.at..self.at + 4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_in_python() {
        for (f, want) in [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (1e16, "1e+16"),
            (1e15, "1000000000000000.0"),
            (1.5e-5, "1.5e-05"),
            (0.0001, "0.0001"),
            (1e100, "1e+100"),
            (1.0 / 3.0, "0.3333333333333333"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(float_repr(f), want);
        }
    }

    #[test]
    fn json_is_pythons() {
        let text = |s: &str| loads(s).map(|v| v.display());
        assert_eq!(
            text(r#"{"a": NaN, "b": [true, null], "a": -0}"#).as_deref(),
            Some("{'a': 0, 'b': [True, None]}")
        );
        assert_eq!(text("123456789012345678901234567890").as_deref(), Some("123456789012345678901234567890"));
        assert_eq!(text("1e400").as_deref(), Some("inf"));
        assert_eq!(text(r#""\ud83d\ude00 it's""#).as_deref(), Some("😀 it's"));
        for bad in ["", "01", "1.", "+1", "[1,]", "{'a':1}", "\"a\nb\"", "nul", "[1] x", "\u{a0}1"] {
            assert!(loads(bad).is_none(), "{bad:?}");
        }
        assert!(loads(&"[".repeat(100_000)).is_none());
    }

    #[test]
    fn equality_and_numbers_are_pythons() {
        let eq = |a: &str, b: &str| loads(a).unwrap().equals(&loads(b).unwrap());
        assert!(eq("1", "1.0") && eq("true", "1") && eq("[1, {\"a\": false}]", "[true, {\"a\": 0}]"));
        assert!(!eq("NaN", "NaN") && !eq("\"1\"", "1") && !eq("9007199254740993", "9007199254740992.0"));
        assert!(eq("1e22", "10000000000000000000000"));
        assert_eq!(float(" 1_000 "), Some(1000.0));
        assert_eq!(float("٥"), Some(5.0));
        assert_eq!(float("1__0").or(float("_1")).or(float("")).or(float("0x1")), None);
        assert!(float("nan").unwrap().is_nan() && float("-Infinity") == Some(f64::NEG_INFINITY));
    }
}
