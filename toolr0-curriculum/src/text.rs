//! Text as Python sees it, where a fingerprint must agree with one that Python made.

use serde_json::Value;

/// The zeros of Unicode's decimal digits (category Nd, Unicode 14): each begins a run of ten. Rust's standard
/// library can only tell numeric characters in general, which holds fractions and Roman numerals too.
const DECIMAL_ZEROS: [u32; 66] = [
    0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50,
    0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40,
    0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30, 0x11066,
    0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950,
    0x11c50, 0x11d50, 0x11da0, 0x16a60, 0x16ac0, 0x16b50, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6,
    0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0,
];

/// The value of a decimal digit of any script: Python's `\d` and `int`.
pub(crate) fn decimal(c: char) -> Option<u32> {
    if c.is_ascii() {
        return c.to_digit(10);
    }
    let code = u32::from(c);
    let run = DECIMAL_ZEROS.partition_point(|&zero| zero <= code);
    let zero = DECIMAL_ZEROS[run.checked_sub(1)?];
    (code - zero < 10).then_some(code - zero)
}

/// Python's `\s` and `str.isspace`: Unicode white space and the four ASCII separators.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Python's `str.strip()`.
pub(crate) fn strip(s: &str) -> &str {
    s.trim_matches(is_space)
}

/// Every run of white space becomes one space; none at the ends.
pub(crate) fn collapse(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    for word in s.split(is_space).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// Lower case, every digit a zero, white space collapsed: questions that differ in numbers only are the same.
pub(crate) fn fold_question(question: &str) -> String {
    let zeroed: String =
        question.to_lowercase().chars().map(|c| if decimal(c).is_some() { '0' } else { c }).collect();
    collapse(&zeroed)
}

/// Separators between items, and between a key and its value.
#[derive(Clone, Copy)]
pub(crate) struct Separators(pub(crate) &'static str, pub(crate) &'static str);

/// What `json.dumps` uses when it is told nothing.
pub(crate) const SPACED: Separators = Separators(", ", ": ");
/// `separators=(",", ":")`.
pub(crate) const COMPACT: Separators = Separators(",", ":");

/// `json.dumps(value, sort_keys=True, ensure_ascii=False)`.
///
/// Integers beyond 64 bits are floats here, since that is how they were read.
pub(crate) fn dumps(value: &Value, separators: Separators) -> String {
    let mut out = String::new();
    write_json(&mut out, value, separators);
    out
}

fn write_json(out: &mut String, value: &Value, separators: Separators) {
    match value {
        Value::Number(n) => match n.as_f64() {
            Some(x) if n.is_f64() => out.push_str(&float_repr(x)),
            _ => out.push_str(&n.to_string()),
        },
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { separators.0 } else { "" });
                write_json(out, item, separators);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            out.push('{');
            for (i, (key, item)) in entries.into_iter().enumerate() {
                out.push_str(if i > 0 { separators.0 } else { "" });
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push_str(separators.1);
                write_json(out, item, separators);
            }
            out.push('}');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

/// Python's `repr` of a finite float: the shortest digits that read back, with an exponent below 1e-4 and from
/// 1e16 on.
pub(crate) fn float_repr(x: f64) -> String {
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = x.to_string();
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn floats_print_as_python_prints_them() {
        let cases = [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (1e16, "1e+16"),
            (123456789012345680.0, "1.2345678901234568e+17"),
            (9999999999999998.0, "9999999999999998.0"),
            (1e-4, "0.0001"),
            (1.5e-5, "1.5e-05"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
        ];
        for (x, want) in cases {
            assert_eq!(float_repr(x), want);
        }
    }

    #[test]
    fn json_is_sorted_at_every_depth() {
        let value = json!({"b": [1, 2.0, null, true], "a": {"z": "é\n\"", "y": {}}});
        assert_eq!(dumps(&value, SPACED), r#"{"a": {"y": {}, "z": "é\n\""}, "b": [1, 2.0, null, true]}"#);
        assert_eq!(dumps(&value, COMPACT), r#"{"a":{"y":{},"z":"é\n\""},"b":[1,2.0,null,true]}"#);
    }

    #[test]
    fn digits_of_every_script_are_digits_and_fractions_are_not() {
        assert!(DECIMAL_ZEROS.is_sorted());
        assert_eq!(
            ['7', '٣', '９', '𝟘', '½', '²', 'a', '\u{2f}', '\u{3a}'].map(decimal),
            [Some(7), Some(3), Some(9), Some(0), None, None, None, None, None]
        );
        assert_eq!(fold_question("  Book\u{1f}7\tseats,\u{a0}٣ ROWS "), "book 0 seats, 0 rows");
    }

    proptest! {
        #[test]
        fn folding_twice_is_folding_once(s in any::<String>()) {
            let once = fold_question(&s);
            prop_assert_eq!(fold_question(&once), once.clone());
        }

        #[test]
        fn a_printed_float_reads_back(x in prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO) {
            prop_assert_eq!(float_repr(x).parse::<f64>().unwrap().to_bits(), x.to_bits());
        }
    }
}
