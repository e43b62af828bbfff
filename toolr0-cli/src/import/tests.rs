//! Small files in the published layouts, made by hand.

use super::*;
use toolr0_reward::ast::Expect;

/// Imports files given by name and content.
#[track_caller]
fn import_of(suite: Suite, files: &[(&str, Value)]) -> Import {
    let home = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = home.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        // A list in a `lines:` file is one object a line.
        let text = match content {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        std::fs::write(path, text).unwrap();
    }
    import(suite, home.path()).unwrap()
}

fn lines(items: &[Value]) -> Value {
    json!(items.iter().map(|item| format!("{item}\n")).collect::<String>())
}

#[track_caller]
fn counts(import: &Import, split: &str, kept: usize, drops: &[(&str, usize)]) {
    assert_eq!(import.splits.get(split).map_or(0, Vec::len), kept, "{split}");
    let got: Vec<_> = import
        .drops
        .get(split)
        .map(|d| d.iter().map(|(r, n)| (r.to_owned(), n)).collect())
        .unwrap_or_default();
    let want: Vec<_> = drops.iter().map(|(reason, n)| ((*reason).to_owned(), *n)).collect();
    assert_eq!(got, want, "{split}");
    for item in import.splits.get(split).into_iter().flatten() {
        let right = item.answers.first().map(Vec::as_slice);
        let right =
            if item.answers.is_empty() { Some(item_call().to_vec()) } else { right.map(<[_]>::to_vec) };
        assert!(toolr0_reward::ast::ast_match(right.as_deref(), item), "the answer of {} is right", item.id);
    }
}

fn item_call() -> [ToolCall; 1] {
    [ToolCall::new("any", Map::new())]
}

#[test]
fn bfcl() {
    let tool = json!({"name": "f.g", "description": "F.", "parameters": {"type": "dict", "properties": {
        "x": {"type": "float"}, "o": {"type": "any"}, "t": {"type": "tuple", "items": {"type": "float"}}}, "required": ["x"]}});
    let ask = |id: &str, turns: usize| json!({"id": id, "question": vec![json!([{"role": "user", "content": "q"}]); turns], "function": [tool]});
    let truth =
        |id: &str, x: Value| json!({"id": id, "ground_truth": [{"f.g": {"x": x, "o": ["", {"k": [1, 2]}]}}]});
    let import = import_of(
        Suite::Bfcl,
        &[
            (
                "BFCL_v4_simple_python.json",
                lines(&[ask("a", 1), ask("b", 1), ask("c", 2), ask("d", 1), ask("a", 1)]),
            ),
            (
                "possible_answer/BFCL_v4_simple_python.json",
                lines(&[truth("a", json!([1.5])), truth("b", json!([1, 2, 3])), truth("d", json!([""]))]),
            ),
            (
                "BFCL_v4_irrelevance.json",
                lines(&[
                    ask("i", 1),
                    json!({"id": "j", "question": [[{"role": "user", "content": "q"}]], "function": []}),
                ]),
            ),
            ("BFCL_v4_live_relevance.json", lines(&[ask("r", 1)])),
            ("BFCL_v4_multi_turn_base.json", lines(&[json!({"not": "read"})])),
        ],
    );
    let drops = [("id given twice", 1), ("several turns", 1), ("the answer lacks a required argument", 1)];
    counts(&import, "simple_python", 2, &drops);
    counts(&import, "irrelevance", 1, &[("no tools", 1)]);
    counts(&import, "live_relevance", 1, &[]);
    let [a, b] = &import.splits["simple_python"][..] else { panic!() };
    assert_eq!(
        a.tools[0].parameters["properties"],
        json!({"x": {"type": "number"}, "o": {}, "t": {"type": "array", "items": {"type": "number"}}})
    );
    assert_eq!(a.answers.len(), 3, "left out, 1 and 2");
    assert_eq!((b.answers.len(), &b.meta["answers_complete"]), (1, &json!(false)));
    assert_eq!(b.answers[0][0].arguments, *json!({"x": 1, "o": {"k": 1}}).as_object().unwrap());
    assert_eq!(import.splits["irrelevance"][0].expect(), Some(Expect::NoCall));
    assert!(!import.splits.contains_key("multi_turn_base"));
}

#[test]
fn toolalpaca() {
    let api = json!({"Name": "Date", "Function_Description": {
            "holidays": "Get holidays\nParameters: {\"year\": \"Required. integer. The year.\", \"country\": \"string. One of: [no, se]. Land.\", \"access_key\": \"Required. string. Key.\"}\nOutput: Success.\n - Format: x",
            "components": ""},
        "Instructions": ["Holidays of 2024?", "Two?", "Three?", "Four?", "Five?"],
        "Golden_Answers": [
            [{"Action": "holidays", "Action_Input": "{\"year\": \"2024\", \"country\": \"\", \"access_key\": \"SECRET\"}"}],
            [{"Action": "holidays", "Action_Input": "{year: 2024}"}],
            [{"Action": "holidays", "Action_Input": "{\"year\": 1, \"access_key\": \"k\", \"country\": \"<country of the first result>\"}"}],
            [{"Action": "other", "Action_Input": "{}"}]]});
    let import = import_of(Suite::Toolalpaca, &[("data/eval_real.json", json!([api]))]);
    let drops = [
        ("no answer", 1),
        ("the answer calls a tool that is not offered", 1),
        ("the answer waits for an earlier result", 1),
        ("unreadable answer", 1),
    ];
    counts(&import, "real", 1, &drops);
    let item = &import.splits["real"][0];
    assert_eq!(item.tools.len(), 1);
    assert_eq!(
        item.tools[0].parameters,
        json!({"type": "object", "properties": {
        "year": {"type": "integer", "description": "The year."},
        "country": {"type": "string", "description": "One of: [no, se]. Land."}}, "required": ["year"]})
    );
    assert_eq!(item.answers[0][0].arguments, *json!({"year": 2024}).as_object().unwrap());
    assert_eq!(item.answers[1][0].arguments, *json!({"year": "2024"}).as_object().unwrap());
    assert_eq!(item.meta["gold_auth_args_removed"], true);
}

#[test]
fn sealtools() {
    let apis = "[{'api_name': 'getFilm', 'api_description': \"Get a film's data\", 'field': 'F', 'parameters': {'title': {'type': 'str', 'description': 'Title'}, 'year': {'type': 'int', 'description': 'Year'}}, 'required': ['title'], 'responses': {'score': {'type': 'float', 'description': 's'}}}]";
    let ask = |id: &str, apis: &str, answer: &str| {
        json!({"id": id, "conversations": [
            {"from": "human", "value": format!("Please choose.\n\nInput:\napi_list = {apis}\ntask_instruction = \"Tell of \"Up\".\"\nOutput:\n")},
            {"from": "gpt", "value": answer}]})
    };
    let good =
        "[{'api': 'getFilm', 'parameters': {'title': 'Up', 'year': '2009'}, 'responses': ['API_call_0']}]";
    let nested = "[{'api': 'getFilm', 'parameters': {'title': 'Up'}, 'responses': ['API_call_0']}, {'api': 'getFilm', 'parameters': {'title': 'API_call_0'}, 'responses': ['API_call_1']}]";
    let import = import_of(
        Suite::Sealtools,
        &[(
            "dataset_for_finetune/test_in_domain.json",
            json!([
                ask("test_in_domain-easy-0", apis, good),
                ask("test_in_domain-easy-1", apis, "[{'api': 'getFilm'"),
                ask("test_in_domain-easy-2", "[]", good),
                ask("test_in_domain-difficult-3", apis, nested),
            ]),
        )],
    );
    counts(&import, "in_domain_single", 1, &[("no tools", 1), ("unreadable answer", 1)]);
    counts(&import, "in_domain_nested", 1, &[]);
    let item = &import.splits["in_domain_single"][0];
    assert_eq!(
        (item.messages[0].content.as_str(), item.tools[0].description.as_str()),
        ("Tell of \"Up\".", "Get a film's data")
    );
    assert_eq!(
        (&item.answers[0][0].arguments["year"], &item.answers[1][0].arguments["year"]),
        (&json!(2009), &json!("2009"))
    );
    assert!(import.splits["in_domain_nested"][0].messages[0].content.contains("{\"getFilm\":[\"score\"]}"));
}

#[test]
fn nexusraven() {
    let argument = |name: &str, kind: &str, required: bool| json!({"name": name, "type": kind, "description": "d", "required": required, "default": "None"});
    let api = |dataset: &str, name: &str| {
        json!({"dataset": dataset, "name": name, "description": "\nF\n", "args_dicts": [
        argument("email", "str", true), argument("n", "int", true), argument("any", "None", false)]})
    };
    let query = |name: &str, arguments: &str| {
        json!({"dataset": "emailrep", "prompt": "Check a@b.c", "python_function_name": name,
        "python_args_dict": arguments, "context_functions": ["f", "g"]})
    };
    let import = import_of(
        Suite::Nexusraven,
        &[
            (
                "standardized_api_list.jsonl",
                lines(&[api("emailrep", "f"), api("emailrep", "g"), api("virustotal", "f")]),
            ),
            (
                "standardized_queries.jsonl",
                lines(&[
                    query("f", r#"{"email": "a@b.c", "n": 2}"#),
                    query("f", r#"{"email": "a@b.c", "n": null}"#),
                    query("h", r#"{"email": "a@b.c", "n": 2}"#),
                    query("f", "{'email'}"),
                    query("f", r#"{"n": 2}"#),
                ]),
            ),
        ],
    );
    let drops = [
        ("the answer calls a tool that is not offered", 1),
        ("the answer lacks a required argument", 1),
        ("unreadable answer", 1),
    ];
    counts(&import, "emailrep", 2, &drops);
    let [whole, left_out] = &import.splits["emailrep"][..] else { panic!() };
    assert_eq!((whole.tools.len(), whole.tools[0].required().count()), (2, 2));
    assert_eq!(left_out.tools[0].required().collect::<Vec<_>>(), ["email"]);
    assert_eq!(whole.tools[0].parameters["properties"]["any"], json!({"description": "d"}));
}

#[test]
fn apibank() {
    let tool = json!({"name": "ToolSearcher", "description": "Search.", "input_parameters": {"keywords": {"type": "str", "description": "k"}}, "output_parameters": {}});
    let instruction = format!(
        "\nGenerate an API request.\nThe current year is 2023.\nInput: \n\nAPI descriptions:\n{tool}"
    );
    let ask = |input: &str, answer: &str| json!({"file": "x.jsonl", "id": 0, "instruction": instruction, "input": input, "expected_output": answer});
    let found = "API-Request: [ToolSearcher(keywords='stock')]->{'name': 'QueryStock', 'description': 'Q.', 'input_parameters': {'code': {'type': 'str', 'description': 'c'}, 'date': {'type': 'str', 'description': 'd'}}}";
    let import = import_of(
        Suite::Apibank,
        &[(
            "json_test_data/level-2-api.json",
            json!([
                ask(
                    "User: Stock of MSFT?\nof today\nAI: Sure.\nGenerate API Request:\n",
                    "API-Request: [ToolSearcher(keywords='stock, price')]"
                ),
                ask(
                    &format!("User: Stock?\n{found}\nGenerate API Request:\n"),
                    "API-Request: [QueryStock(code='MSFT', date='2022-02-04')]"
                ),
                ask(
                    &format!("User: Stock?\n{found}\nGenerate API Request:\n"),
                    "API-Request: [QueryStock(code='MSFT')]"
                ),
                ask("User: x\nGenerate API Request:\n", "API-Request: [Other()]"),
                ask("User: x\nGenerate API Request:\n", "nothing"),
            ]),
        )],
    );
    counts(
        &import,
        "level-2",
        3,
        &[("the answer calls a tool that is not offered", 1), ("unreadable answer", 1)],
    );
    let [search, whole, part] = &import.splits["level-2"][..] else { panic!() };
    let roles: Vec<_> = whole.messages.iter().map(|m| m.role.as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool"]);
    assert_eq!(search.messages[1].content, "Stock of MSFT?\nof today");
    assert_eq!(whole.messages[2].content, r#"[{"name":"ToolSearcher","arguments":{"keywords":"stock"}}]"#);
    assert_eq!(part.tools[1].required().collect::<Vec<_>>(), ["code"], "an answer leaves the date out");
}

#[test]
fn snips() {
    let say = |pieces: Value| json!({"data": pieces});
    let add = json!({"AddToPlaylist": [
        say(json!([{"text": "Add "}, {"text": "Recalled ", "entity": "entity_name"}, {"text": " to "}, {"text": "mine", "entity": "playlist"}])),
        say(json!([{"text": "a", "entity": "playlist"}, {"text": "b", "entity": "playlist"}])),
        say(json!([])),
    ]});
    let rate =
        json!({"RateBook": [say(json!([{"text": "Give "}, {"text": "5", "entity": "rating_value"}]))]});
    let import = import_of(
        Suite::Snips,
        &[("AddToPlaylist/validate_AddToPlaylist.json", add), ("RateBook/validate_RateBook.json", rate)],
    );
    counts(&import, "validate", 2, &[("a slot is filled twice", 1), ("no question", 1)]);
    let item = &import.splits["validate"][0];
    assert_eq!(item.messages[0].content, "Add Recalled  to mine");
    assert_eq!(
        item.tools.iter().map(|t| t.description.as_str()).collect::<Vec<_>>(),
        ["Add to playlist.", "Rate book."]
    );
    assert_eq!(
        item.answers[0][0].arguments,
        *json!({"entity_name": "Recalled", "playlist": "mine"}).as_object().unwrap()
    );
}

#[test]
fn what_is_not_there_is_named() {
    let home = tempfile::tempdir().unwrap();
    let error = format!("{:#}", import(Suite::Snips, home.path()).unwrap_err());
    assert!(error.contains("holds none of the suite's files"), "{error}");
    std::fs::write(home.path().join("eval_real.json"), "[{").unwrap();
    let error = format!("{:#}", import(Suite::Toolalpaca, home.path()).unwrap_err());
    assert!(error.contains("eval_real.json: expected a JSON list"), "{error}");
}
