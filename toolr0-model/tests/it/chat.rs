//! Chat templates against what transformers rendered.
//!
//! `golden/chat/chat.jsonl` holds a third of the lines that transformers 5.23.0's own renderer wrote for
//! five templates (from the trl 1.16.0 package, Apache-2.0); the full set is read where it is at hand.

use crate::shared;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use toolr0_model::chat::ChatTemplate;
use toolr0_model::error::Error;
use toolr0_model::tokenizer::SpecialTokens;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/chat")
}

/// Renders every line of a golden file and compares the bytes; returns how many there were.
fn check_golden(lines: &Path, templates: &Path) -> usize {
    let text = std::fs::read_to_string(lines).unwrap();
    for (index, line) in text.lines().enumerate() {
        let case: Map<String, Value> = serde_json::from_str(line).unwrap();
        let name = case["template"].as_str().unwrap();
        let path = templates.join(format!("{name}.jinja"));
        let source = std::fs::read_to_string(&path).unwrap();
        let template = ChatTemplate::new(&source, SpecialTokens::from_config(&case), &path).unwrap();
        let extra: Map<String, Value> =
            [("date_string".to_owned(), case["date_string"].clone())].into_iter().collect();
        let tools = Some(&case["tools"]).filter(|tools| !tools.is_null());
        let generation = case["add_generation_prompt"].as_bool().unwrap();
        let got = template.render(&case["messages"], tools, generation, &extra).unwrap();
        let want = case["rendered"].as_str().unwrap();
        let same = got.bytes().zip(want.bytes()).take_while(|(a, b)| a == b).count();
        assert!(
            got == want,
            "line {index} ({name}) differs at byte {same}:\n got {:?}\nwant {:?}",
            tail(&got, same),
            tail(want, same)
        );
    }
    text.lines().count()
}

fn tail(text: &str, from: usize) -> &str {
    let start = text.floor_char_boundary(from.saturating_sub(30));
    &text[start..text.floor_char_boundary(from + 60)]
}

#[test]
fn sampled_lines_match_transformers() {
    assert_eq!(check_golden(&golden().join("chat.jsonl"), &golden()), 101);
}

#[test]
fn all_lines_match_transformers() {
    let Some(dir) = shared("golden") else { return };
    assert_eq!(check_golden(&dir.join("chat.jsonl"), &dir.join("chat_templates")), 302);
}

/// Renders `source` with the message list `["hi"]` and `x` as an extra variable.
#[track_caller]
fn check(source: &str, x: Value, want: &str) {
    let template = ChatTemplate::new(source, SpecialTokens::default(), Path::new("t.jinja")).unwrap();
    let extra: Map<String, Value> = [("x".to_owned(), x)].into_iter().collect();
    let messages = json!([{ "role": "user", "content": "hi" }]);
    assert_eq!(template.render(&messages, None, false, &extra).unwrap(), want, "{source}");
}

#[test]
fn values_are_spelt_as_in_python() {
    check(
        "{{ x }}",
        json!([true, null, 1, 2.0, "it's", { "a": "b\n" }]),
        r#"[True, None, 1, 2.0, "it's", {'a': 'b\n'}]"#,
    );
    check("{{ x }}{{ missing }}{{ 1 == 1 }}", json!("é"), "éTrue");
    check("{{ x | string }}", json!(null), "None");
    // json.dumps of the same values, Python 3.12.
    let x = json!({ "b": [1, 2.5, 1e16, 1e-7, -0.0001, 123456789.0, 1e15], "a": "<&'\"\\/é\u{1}\n", "e": [], "o": {} });
    let plain = r#"{"b": [1, 2.5, 1e+16, 1e-07, -0.0001, 123456789.0, 1000000000000000.0], "a": "<&'\"\\/é\u0001\n", "e": [], "o": {}}"#;
    check("{{ x | tojson }}", x.clone(), plain);
    check("{{ x | tojson }}", json!("\u{7f}\u{2028}"), "\"\u{7f}\u{2028}\"");
    let sorted = "{\n  \"a\": 1,\n  \"b\": [\n    \"\\u00e9\\ud83d\\ude00\",\n    []\n  ]\n}";
    check(
        "{{ x | tojson(indent=2, sort_keys=true, ensure_ascii=true) }}",
        json!({ "b": ["é😀", []], "a": 1 }),
        sorted,
    );
    check("{{ x | tojson(separators=(',', ':')) }}", json!({ "b": [1, 2] }), r#"{"b":[1,2]}"#);
    check("{{ x | tojson }}", json!(18446744073709551615u64), "18446744073709551615");
}

#[test]
fn the_environment_is_that_of_transformers() {
    // Block tags swallow their line; the last newline goes.
    check("a\n  {% if true %}\nb\n  {% endif %}\nc\n", Value::Null, "a\nb\nc");
    check(
        "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% elif i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}",
        Value::Null,
        "023",
    );
    check(
        "{{ ' a,b '.strip().split(',')[-1] ~ x.get('k', 'd') ~ x.items() | list | length }}",
        json!({ "z": 1 }),
        "bd1",
    );
    check(
        "{%- generation -%} a {%- endgeneration %}{% generation %}\nb{%+ endgeneration %}",
        Value::Null,
        "ab",
    );
    check("{{ generation }}{% set generations = 1 %}{{ generations }}", Value::Null, "1");
    check(
        "{{ tools is none }} {{ documents is none }} {{ tools is defined }}",
        Value::Null,
        "True True True",
    );
    check(
        "{{ x is mapping }} {{ x is iterable }} {{ 'a' is iterable }} {{ x is string }}",
        json!({}),
        "True True True False",
    );
}

#[test]
fn dates_are_those_of_the_clock_that_was_set() {
    let format = "%d %b %Y|%A %B %-d|%H:%M:%S %I %p|%y-%m-%e %j %F %T %% %q";
    let source = format!("{{{{ strftime_now('{format}') }}}}");
    let check = |now: u64, want: &str| {
        let mut template =
            ChatTemplate::new(&source, SpecialTokens::default(), Path::new("t.jinja")).unwrap();
        template.set_now(now);
        assert_eq!(template.render(&json!([]), None, false, &Map::new()).unwrap(), want);
    };
    // `date -u -d @N +FORMAT`, GNU coreutils.
    check(0, "01 Jan 1970|Thursday January 1|00:00:00 12 AM|70-01- 1 001 1970-01-01 00:00:00 % %q");
    check(
        1_709_207_999,
        "29 Feb 2024|Thursday February 29|11:59:59 11 AM|24-02-29 060 2024-02-29 11:59:59 % %q",
    );
    check(
        4_107_542_399,
        "28 Feb 2100|Sunday February 28|23:59:59 11 PM|00-02-28 059 2100-02-28 23:59:59 % %q",
    );
    check(
        1_735_646_400,
        "31 Dec 2024|Tuesday December 31|12:00:00 12 PM|24-12-31 366 2024-12-31 12:00:00 % %q",
    );
}

fn from_config(config: Value) -> Result<ChatTemplate, Error> {
    ChatTemplate::from_config_json(&config.to_string(), Path::new("m/tokenizer_config.json"))
}

#[test]
fn a_named_template_serves_tools() {
    let template = from_config(json!({
        "bos_token": { "content": "<s>", "lstrip": false },
        "eos_token": "</s>",
        "pad_token": null,
        "chat_template": [
            { "name": "default", "template": "{{ bos_token }}plain{{ pad_token is defined }}" },
            { "name": "tool_use", "template": "{{ tools | length }} tools{{ eos_token }}" },
        ],
    }))
    .unwrap();
    let render = |tools: Option<&Value>, extra: Value| {
        template.render(&json!([]), tools, true, extra.as_object().unwrap()).unwrap()
    };
    assert_eq!(render(None, json!({})), "<s>plainFalse");
    assert_eq!(render(Some(&json!([{}, {}])), json!({})), "2 tools</s>");
    assert_eq!(render(None, json!({ "bos_token": "!" })), "!plainFalse");
}

#[test]
fn a_jinja_file_goes_before_the_config() {
    let dir = tempfile::tempdir().unwrap();
    let config = json!({ "eos_token": "</s>", "chat_template": "from the config" });
    std::fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    let render =
        || ChatTemplate::load(dir.path()).unwrap().render(&json!([]), None, false, &Map::new()).unwrap();
    assert_eq!(render(), "from the config");
    std::fs::write(dir.path().join("chat_template.jinja"), "from the file{{ eos_token }}").unwrap();
    assert_eq!(render(), "from the file</s>");
}

#[test]
fn what_a_template_refuses_is_told_in_its_words() {
    let raises = from_config(
        json!({ "chat_template": "{% for m in messages %}{{ raise_exception('no ' + m.role) }}{% endfor %}" }),
    );
    let error = raises.unwrap().render(&json!([{ "role": "tool" }]), None, false, &Map::new()).unwrap_err();
    assert!(matches!(&error, Error::TemplateRaised { message, .. } if message == "no tool"), "{error:?}");
    assert!(error.to_string().contains("m/tokenizer_config.json"), "{error}");

    let inside = "{% macro f() %}{{ raise_exception('deep') }}{% endmacro %}{{ f() }}";
    let error =
        from_config(json!({ "chat_template": inside })).unwrap().render(&json!([]), None, false, &Map::new());
    assert!(matches!(error.unwrap_err(), Error::TemplateRaised { message, .. } if message == "deep"));
}

#[test]
fn broken_templates_are_errors() {
    let reason =
        |config: Value| match from_config(config).map(|t| t.render(&json!([]), None, false, &Map::new())) {
            Err(error) | Ok(Err(error)) => error.to_string(),
            Ok(Ok(text)) => panic!("rendered {text:?}"),
        };
    for (config, want) in [
        (json!({}), "there is no `chat_template`"),
        (json!({ "chat_template": 5 }), "neither a string nor a list"),
        (json!({ "chat_template": [{ "name": "x" }] }), "without name and template"),
        (json!({ "chat_template": [{ "name": "x", "template": "" }] }), "no template named `default`"),
        (json!({ "chat_template": "{% if %}" }), "syntax error"),
        (json!({ "chat_template": "{{ nobody.home.here }}" }), "undefined"),
        (json!({ "chat_template": "{{ missing | tojson }}" }), "not JSON serializable"),
        (
            json!({ "chat_template": "{% set ns = namespace(x=[]) %}{% for i in range(500) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x | tojson }}" }),
            "too deeply",
        ),
        (json!({ "chat_template": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}" }), "recursion"),
    ] {
        let got = reason(config.clone());
        assert!(got.contains(want) && got.contains("m/tokenizer_config.json"), "{config}: {got}");
    }
    let error = ChatTemplate::load(Path::new("/nonexistent")).unwrap_err();
    assert!(matches!(error, Error::Read { .. }), "{error:?}");
    let error = ChatTemplate::from_config_json("{", Path::new("c.json")).unwrap_err();
    assert!(matches!(error, Error::Json { .. }), "{error:?}");
}
