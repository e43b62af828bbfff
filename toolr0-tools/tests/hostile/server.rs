//! An MCP server that does what none should, for the tests of the client. A call's name says what.

use std::io::{BufRead, Write};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

const TOOLS: [&str; 10] =
    ["echo", "fail", "never", "die", "flood", "lines", "again", "garbage", "deaf", "count"];

fn main() {
    let mut calls = 0;
    for line in std::io::stdin().lock().lines() {
        let Ok(message) = line.and_then(|line| Ok(serde_json::from_str::<Value>(&line)?)) else { continue };
        let id = &message["id"];
        let params = &message["params"];
        match message["method"].as_str().unwrap_or_default() {
            "initialize" => answer(id, initialised(params)),
            "tools/list" => {
                let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
                let tools = TOOLS.map(|name| json!({"name": name, "inputSchema": schema}));
                answer(id, json!({"tools": tools}));
            }
            "tools/call" => {
                calls += 1;
                call(id, params, calls);
            }
            _ => {}
        }
    }
}

fn call(id: &Value, params: &Value, calls: u32) {
    match params["name"].as_str().unwrap_or_default() {
        "echo" => answer(id, text(&params["arguments"].to_string(), false)),
        "fail" => answer(id, text("there is none", true)),
        "count" => answer(id, text(&calls.to_string(), false)),
        // A grandchild that would outlive it.
        "die" => {
            let _ = Command::new("/bin/sleep").arg("3600").spawn();
            std::process::exit(1);
        }
        // One message that does not end, and many that say nothing.
        "flood" => loop {
            write(&[b'x'; 1 << 16]);
        },
        "lines" => loop {
            write(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":1}}\n");
        },
        // Shakes hands again instead of answering, and asks the client to.
        "again" => {
            answer(id, initialised(&json!({})));
            write(b"{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"initialize\",\"params\":{}}\n");
            write(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n");
        }
        "garbage" => write(b"\xff\xfe{not json\n[1,2\n{\"jsonrpc\":\"2.0\",\"id\":null}\n"),
        // Neither reads nor writes ever again.
        "deaf" => std::thread::sleep(Duration::from_secs(3600)),
        _ => {}
    }
}

fn initialised(params: &Value) -> Value {
    let version = params.get("protocolVersion").cloned().unwrap_or_else(|| json!("2025-06-18"));
    let server = json!({"name": "Hostile", "version": "1"});
    json!({"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": server})
}

fn text(text: &str, is_error: bool) -> Value {
    json!({"content": [{"type": "text", "text": text}], "isError": is_error})
}

fn answer(id: &Value, result: Value) {
    write(format!("{}\n", json!({"jsonrpc": "2.0", "id": id, "result": result})).as_bytes());
}

fn write(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
        // Nobody listens any more.
        std::process::exit(0);
    }
}
