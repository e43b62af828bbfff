//! Python's `ast.literal_eval`, which the release falls back on when an answer is no JSON: `str(list)` of Python.
//!
//! Left out: complex numbers, `\N{..}` escapes and hexadecimal numbers beyond 128 bits, which then count as unparsable;
//! an escaped half of a surrogate pair becomes the replacement character.

use super::python::{Dict, Py, int_from};

/// How deep brackets may nest: the limit of CPython's tokenizer.
const MAX_DEPTH: usize = 200;

/// Reads a Python literal; `None` where Python raises.
pub(super) fn literal_eval(text: &str) -> Option<Py> {
    if text.contains('\0') {
        return None;
    }
    let mut text = text.trim_start_matches([' ', '\t']);
    // Lines of comments may come first; what follows them may not be indented.
    while text.starts_with(['#', '\n', '\r']) {
        let end = text.find('\n')? + 1;
        let rest = &text[end..];
        let line = rest.trim_start_matches([' ', '\t']);
        text = if line.starts_with(['#', '\n', '\r']) { line } else { rest };
        if text.starts_with([' ', '\t']) {
            return None;
        }
    }
    let mut reader = Reader { text, at: 0, depth: 0 };
    let value = reader.tuple_or_value(None)?;
    // Comments and line ends may follow.
    reader.depth = 1;
    reader.blank();
    (reader.at == text.len()).then_some(value)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Open brackets; a line end outside of them ends the expression.
    depth: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, token: &str) -> bool {
        self.blank();
        let found = self.rest().starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn blank(&mut self) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | 0x0c) => self.at += 1,
                Some(b'\n' | b'\r') if self.depth > 0 => self.at += 1,
                Some(b'#') => self.at += self.rest().find(['\n', '\r']).unwrap_or(self.rest().len()),
                Some(b'\\') if self.rest().starts_with("\\\n") => self.at += 2,
                Some(b'\\') if self.rest().starts_with("\\\r\n") => self.at += 3,
                _ => return,
            }
        }
    }

    /// Values separated by commas up to `close` (or the end of the text): one of them is itself, with a comma or more
    /// it is a tuple.
    fn tuple_or_value(&mut self, close: Option<&str>) -> Option<Py> {
        let ends = |reader: &mut Self| {
            reader.blank();
            close.map_or(reader.at == reader.text.len(), |close| reader.rest().starts_with(close))
        };
        let first = self.value()?;
        if !self.take(",") {
            return Some(first);
        }
        let mut items = vec![first];
        while !ends(self) {
            items.push(self.value()?);
            if !self.take(",") {
                break;
            }
        }
        Some(Py::Tuple(items))
    }

    fn open(&mut self) -> Option<()> {
        self.at += 1;
        self.depth += 1;
        (self.depth <= MAX_DEPTH).then_some(())
    }

    fn close(&mut self, token: &str) -> bool {
        let found = self.take(token);
        self.depth -= usize::from(found);
        found
    }

    fn value(&mut self) -> Option<Py> {
        self.blank();
        match self.peek()? {
            b'[' => {
                self.open()?;
                self.items("]").map(Py::List)
            }
            b'(' => {
                self.open()?;
                if self.close(")") {
                    return Some(Py::Tuple(Vec::new()));
                }
                let value = self.tuple_or_value(Some(")"))?;
                self.close(")").then_some(value)
            }
            b'{' => self.braces(),
            b'"' | b'\'' => self.strings(),
            b'+' | b'-' => self.signed(),
            b'0'..=b'9' => self.number(),
            b'.' if self.rest().starts_with("...") => {
                self.at += 3;
                Some(Py::Ellipsis)
            }
            b'.' => self.number(),
            _ => self.word(),
        }
    }

    fn items(&mut self, close: &str) -> Option<Vec<Py>> {
        let mut items = Vec::new();
        loop {
            if self.close(close) {
                return Some(items);
            }
            items.push(self.value()?);
            if !self.take(",") {
                return self.close(close).then_some(items);
            }
        }
    }

    fn braces(&mut self) -> Option<Py> {
        self.open()?;
        if self.close("}") {
            return Some(Py::Dict(Dict::default()));
        }
        let first = self.value()?;
        if !self.take(":") {
            let mut items = vec![first];
            if self.take(",") {
                items.extend(self.items("}")?);
            } else {
                self.close("}").then_some(())?;
            }
            // A set is a dictionary without values: it drops what is there already and refuses lists.
            let mut unique = Dict::default();
            for item in items {
                unique.insert(item, Py::None)?;
            }
            return Some(Py::Set(unique.iter().map(|(k, _)| k.clone()).collect()));
        }
        let mut dict = Dict::default();
        let mut key = first;
        loop {
            let value = self.value()?;
            dict.insert(key, value)?;
            if !self.take(",") {
                self.close("}").then_some(())?;
                return Some(Py::Dict(dict));
            }
            if self.close("}") {
                return Some(Py::Dict(dict));
            }
            key = self.value()?;
            self.take(":").then_some(())?;
        }
    }

    fn word(&mut self) -> Option<Py> {
        let end = self.rest().find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest().len());
        let word = &self.rest()[..end];
        let prefix = word.to_ascii_lowercase();
        if matches!(self.rest().as_bytes().get(end), Some(b'"' | b'\''))
            && matches!(&*prefix, "r" | "u" | "b" | "br" | "rb")
        {
            return self.strings();
        }
        self.at += end;
        match word {
            "None" => Some(Py::None),
            "True" => Some(Py::Bool(true)),
            "False" => Some(Py::Bool(false)),
            "set" => {
                self.take("(").then_some(())?;
                self.take(")").then_some(Py::Set(Vec::new()))
            }
            _ => None,
        }
    }

    /// One sign before a number, as `literal_eval` allows; two are too many.
    fn signed(&mut self) -> Option<Py> {
        let negative = self.peek() == Some(b'-');
        self.at += 1;
        self.blank();
        match (self.number()?, negative) {
            (Py::Int(digits), true) => Some(Py::Int(int_from(true, &digits))),
            (Py::Float(f), true) => Some(Py::Float(-f)),
            (value, _) => Some(value),
        }
    }

    fn number(&mut self) -> Option<Py> {
        let rest = self.rest();
        // What a number can consist of; the sign of an exponent belongs to it.
        let mut end = 0;
        let bytes = rest.as_bytes();
        let prefixed = matches!(bytes, [b'0', b'x' | b'X' | b'o' | b'O' | b'b' | b'B', ..]);
        while let Some(b) = bytes.get(end) {
            let exponent = end > 0 && matches!(bytes[end - 1], b'e' | b'E') && !prefixed;
            if b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.') || (exponent && matches!(b, b'+' | b'-'))
            {
                end += 1;
            } else {
                break;
            }
        }
        let token = &rest[..end];
        self.at += end;
        let plain = without_underscores(token)?;
        if prefixed {
            let radix = match bytes[1].to_ascii_lowercase() {
                b'x' => 16,
                b'o' => 8,
                _ => 2,
            };
            return u128::from_str_radix(&plain[2..], radix).ok().map(|n| Py::Int(n.to_string()));
        }
        if plain.bytes().all(|b| b.is_ascii_digit()) && !plain.is_empty() {
            let zeros = plain.bytes().all(|b| b == b'0');
            let leading = plain.starts_with('0') && !zeros;
            return (!leading && plain.len() <= 4300).then(|| Py::Int(int_from(false, &plain)));
        }
        let decimal =
            plain.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
        let digits = plain.bytes().any(|b| b.is_ascii_digit());
        if decimal && digits { plain.parse().ok().map(Py::Float) } else { None }
    }

    /// One string, or several that stand side by side.
    fn strings(&mut self) -> Option<Py> {
        let mut text = String::new();
        let mut bytes: Option<Vec<u8>> = None;
        let mut n = 0;
        loop {
            self.blank();
            let rest = self.rest();
            let Some(quote) = rest.find(['"', '\'']).filter(|q| *q <= 2) else { break };
            let prefix = rest[..quote].to_ascii_lowercase();
            let (raw, binary) = match prefix.as_str() {
                "" | "u" => (false, false),
                "r" => (true, false),
                "b" => (false, true),
                "br" | "rb" => (true, true),
                _ => break,
            };
            if n > 0 && binary != bytes.is_some() {
                return None;
            }
            self.at += quote;
            let part = self.string(raw, binary)?;
            if binary {
                // Each character of a byte string stands for one byte.
                let out = bytes.get_or_insert_with(Vec::new);
                for c in part.chars() {
                    out.push(u8::try_from(u32::from(c)).ok()?);
                }
            } else {
                text.push_str(&part);
            }
            n += 1;
        }
        if n == 0 {
            return None;
        }
        Some(bytes.map_or(Py::Str(text), Py::Bytes))
    }

    fn string(&mut self, raw: bool, binary: bool) -> Option<String> {
        let quote = &self.rest()[..1];
        let triple =
            self.rest().len() >= 3 && self.rest().as_bytes()[..3].iter().all(|b| *b == quote.as_bytes()[0]);
        let close = if triple { &self.rest()[..3] } else { quote };
        self.at += close.len();
        let mut out = String::new();
        loop {
            if self.rest().starts_with(close) {
                self.at += close.len();
                return Some(out);
            }
            let c = self.rest().chars().next()?;
            self.at += c.len_utf8();
            match c {
                '\n' | '\r' if !triple => return None,
                '\\' => {
                    let next = self.rest().chars().next()?;
                    self.at += next.len_utf8();
                    if raw {
                        out.push('\\');
                        out.push(next);
                    } else {
                        self.escape(next, binary, &mut out)?;
                    }
                }
                c if binary && !c.is_ascii() => return None,
                c => out.push(c),
            }
        }
    }

    fn escape(&mut self, next: char, binary: bool, out: &mut String) -> Option<()> {
        let c = match next {
            '\n' => return Some(()),
            '\\' | '\'' | '"' => next,
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '0'..='7' => {
                let mut n = u32::from(next) - 48;
                for _ in 0..2 {
                    let Some(d @ b'0'..=b'7') = self.peek() else { break };
                    n = n * 8 + u32::from(d - b'0');
                    self.at += 1;
                }
                char::from_u32(if binary { n & 0xff } else { n })?
            }
            'x' => self.hex(2)?,
            'u' if !binary => self.hex(4)?,
            'U' if !binary => self.hex(8)?,
            'N' if !binary => return None,
            // An unknown escape keeps its backslash.
            other => {
                out.push('\\');
                other
            }
        };
        out.push(c);
        Some(())
    }

    fn hex(&mut self, n: usize) -> Option<char> {
        let digits =
            self.text.get(self.at..self.at + n).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
        self.at += n;
        let code = u32::from_str_radix(digits, 16).ok()?;
        match code {
            0xd800..0xe000 => Some(char::REPLACEMENT_CHARACTER),
            _ => char::from_u32(code),
        }
    }
}

/// Underscores stand between digits (or after the `0x` of a prefix).
fn without_underscores(token: &str) -> Option<String> {
    let bytes = token.as_bytes();
    let fits = |at: usize| {
        let after = bytes.get(at + 1).is_some_and(u8::is_ascii_hexdigit);
        let before = at > 0
            && (bytes[at - 1].is_ascii_hexdigit() || matches!(bytes[at - 1], b'x' | b'X' | b'o' | b'O'));
        before && after
    };
    let ok = bytes.iter().enumerate().all(|(at, b)| *b != b'_' || fits(at));
    ok.then(|| token.replace('_', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Option<&str>) {
        assert_eq!(literal_eval(text).map(|v| v.display()).as_deref(), want, "{text}");
    }

    #[test]
    fn literals_are_pythons() {
        check("[{'a': None, 'b': (1, 2.5, -3)}]", Some("[{'a': None, 'b': (1, 2.5, -3)}]"));
        check("{'a': \"it's\" 'x', 'a': 2,}", Some("{'a': 2}"));
        check("1, 2", Some("(1, 2)"));
        check("(1)", Some("1"));
        check("(1,)", Some("(1,)"));
        check("{1, 1.0, 2}", Some("{1, 2}"));
        check("set()", Some("set()"));
        check("r'\\n' '\\x41\\101\\u00e9\\q'", Some("\\nAAé\\q"));
        check("b'ab'", Some("b'ab'"));
        check("'''a\nb'''", Some("a\nb"));
        check("[1, # one\n 2]", Some("[1, 2]"));
        check("# one\n\n[1] # two\n", Some("[1]"));
        check("1_000", Some("1000"));
        check("0x1F", Some("31"));
        check("00", Some("0"));
        check("1e3", Some("1000.0"));
        check(".5", Some("0.5"));
        check("+1", Some("1"));
    }

    #[test]
    fn what_python_refuses_is_refused() {
        for bad in [
            "",
            "[",
            "a",
            "true",
            "f()",
            "1 + 2",
            "--1",
            "{[1]: 2}",
            "{[1]}",
            "05",
            "'a\nb'",
            "'a",
            "1\n2",
            "[1 2]",
            "f'a'",
            "'a' b'b'",
            "{'a' 1}",
            "-True",
            "[,]",
            "(,)",
            "1__0",
            "1_",
            "\0",
            "print('x')",
            "-'a'",
        ] {
            check(bad, None);
        }
        check(&"[".repeat(100_000), None);
        check(&format!("{}{}", "[".repeat(201), "]".repeat(201)), None);
        assert!(literal_eval(&format!("{}{}", "[".repeat(200), "]".repeat(200))).is_some());
    }
}
