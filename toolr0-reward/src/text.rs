//! Text as comparisons see it: Unicode NFC, white space collapsed; and the characters that no honest text needs.

use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization, is_nfc};

/// NFC, runs of white space as one space, trimmed. Case is kept.
pub(crate) fn canonical(text: &str) -> Cow<'_, str> {
    let spaced = |t: &str| t.split_whitespace().collect::<Vec<_>>().join(" ");
    // ASCII is NFC already; nearly every value is ASCII without double spaces, and is returned as it stands.
    let plain = text.is_ascii() || is_nfc(text);
    let single = !text.starts_with(char::is_whitespace)
        && !text.ends_with(char::is_whitespace)
        && !text.contains("  ")
        && !text.chars().any(|c| c != ' ' && c.is_whitespace());
    match (plain, single) {
        (true, true) => Cow::Borrowed(text),
        (true, false) => Cow::Owned(spaced(text)),
        (false, _) => Cow::Owned(spaced(&text.nfc().collect::<String>())),
    }
}

/// [`canonical`], in lower case, with curly quotes straightened and `_` as a space: `round_trip` stands in
/// "a round trip".
pub(crate) fn folded(text: &str) -> String {
    let mapped: String = text
        .nfc()
        .flat_map(char::to_lowercase)
        .map(|c| match c {
            '_' => ' ',
            '\u{2018}' | '\u{2019}' => '\'',
            '\u{201c}' | '\u{201d}' => '"',
            c => c,
        })
        .collect();
    canonical(&mapped).into_owned()
}

/// Letters, digits, and marks that belong to a word.
pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || unicode_normalization::char::is_combining_mark(c)
}

/// Scripts that put no spaces between words, so that a word may start and end anywhere: Thai to Khmer, kana,
/// Han.
pub(crate) fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{0e00}'..='\u{0eff}' | '\u{0f00}'..='\u{0fff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        | '\u{3040}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}

/// Whether the text holds a control, zero-width, bidirectional or filler character.
///
/// Joiners are let through after a non-ASCII character: Persian, Indic scripts and emoji need them there.
pub(crate) fn has_hidden(text: &str) -> bool {
    let mut before = ' ';
    text.chars().any(|c| {
        let hidden = match c {
            '\n' | '\r' | '\t' => false,
            '\u{200c}' | '\u{200d}' => before.is_ascii(),
            '\u{00ad}'
            | '\u{034f}'
            | '\u{061c}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffd}'
            | '\u{e0000}'..='\u{e0fff}' => true,
            c => c.is_control(),
        };
        before = c;
        hidden
    })
}

/// Whether one word mixes Latin letters with Cyrillic ones, or with Greek ones that look Latin, or uses the
/// mathematical alphabets: `Pаris` with a Cyrillic `а` reads like a city and equals none.
pub(crate) fn has_look_alike(text: &str) -> bool {
    if text.is_ascii() {
        return false;
    }
    text.split(|c: char| !is_word(c)).any(|word| {
        let latin = word.chars().any(|c| c.is_ascii_alphabetic() || matches!(c, '\u{00c0}'..='\u{024f}'));
        word.chars().any(|c| match c {
            '\u{0400}'..='\u{052f}' => latin,
            'Α' | 'Β' | 'Ε' | 'Ζ' | 'Η' | 'Ι' | 'Κ' | 'Μ' | 'Ν' | 'Ο' | 'Ρ' | 'Τ' | 'Υ' | 'Χ' | 'ο' | 'ν'
            | 'ι' | 'κ' | 'ρ' | 'υ' | 'χ' => latin,
            '\u{1d400}'..='\u{1d7ff}' | '\u{ff21}'..='\u{ff3a}' | '\u{ff41}'..='\u{ff5a}' => true,
            _ => false,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_form_for_one_text() {
        assert_eq!(canonical("Zu\u{308}rich"), "Zürich");
        assert_eq!(canonical("  New \u{a0} York\n"), "New York");
        assert!(matches!(canonical("New York"), Cow::Borrowed(_)));
        assert_eq!(folded("Round_Trip \u{2019}s"), "round trip 's");
    }

    #[test]
    fn hidden_and_look_alike_characters_are_seen() {
        assert!(
            has_hidden("Os\u{200b}lo")
                && has_hidden("a\u{202e}b")
                && has_hidden("a\0")
                && has_hidden("a\u{200d}b")
        );
        assert!(!has_hidden("Zürich\n東京 👩\u{200d}🚀 می\u{200c}خواهم"));
        assert!(has_look_alike("P\u{0430}ris") && has_look_alike("Οslo") && has_look_alike("𝐎slo"));
        assert!(!has_look_alike("Москва is Moscow, Αθήνα, μg, 東京"));
    }
}
