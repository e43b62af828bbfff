//! A small MCP server, to learn the tools of one on: the checkups of a clinic, all made up.
//!
//! ```sh
//! cargo build --release --example clinic
//! toolr0 tools list mcp:target/release/examples/clinic
//! toolr0 tools call mcp:target/release/examples/clinic '{"name": "find_checkup", "arguments": {"patient": "Nora Lind", "date": "2026-03-05"}}'
//! ```
//!
//! The same call is answered alike every time, so that two answers of a model can be compared by what they get.
//! It speaks over stdin and stdout. With `--http` it listens on a free port of this machine instead, and prints its address.

use std::io::{BufRead, Write};

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use serde_json::{Value, json};

fn main() -> anyhow::Result<()> {
    if std::env::args().any(|arg| arg == "--http") {
        return tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(listen());
    }
    for line in std::io::stdin().lock().lines() {
        let answer = serde_json::from_str(&line?).ok().and_then(|message: Value| answer(&message));
        if let Some(answer) = answer {
            writeln!(std::io::stdout(), "{answer}")?;
        }
    }
    Ok(())
}

async fn listen() -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "http://{}/mcp", listener.local_addr()?)?;
    let post = post(|Json(message): Json<Value>| async move {
        let respond = |answer: Value| -> Response { Json(answer).into_response() };
        answer(&message).map_or_else(|| StatusCode::ACCEPTED.into_response(), respond)
    });
    Ok(axum::serve(listener, Router::new().route("/mcp", post)).await?)
}

/// The answer to one message; a notification has none.
fn answer(message: &Value) -> Option<Value> {
    let id = message.get("id")?;
    let params = &message["params"];
    let result = match message["method"].as_str()? {
        "initialize" => json!({
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "healthcare", "version": "1"},
        }),
        "tools/list" => json!({"tools": tools()}),
        "tools/call" => match call(params["name"].as_str()?, &params["arguments"]) {
            Ok(value) => {
                json!({"content": [{"type": "text", "text": value.to_string()}], "structuredContent": value})
            }
            Err(why) => json!({"content": [{"type": "text", "text": why}], "isError": true}),
        },
        _ => {
            let error = json!({"code": -32601, "message": "there is no such method"});
            return Some(json!({"jsonrpc": "2.0", "id": id, "error": error}));
        }
    };
    Some(json!({"jsonrpc": "2.0", "id": id, "result": result}))
}

fn tools() -> Value {
    let tool = |name: &str, about: &str, params: &[&str]| {
        let properties: serde_json::Map<_, _> =
            params.iter().map(|param| ((*param).to_owned(), json!({"type": "string"}))).collect();
        let schema = json!({"type": "object", "properties": properties, "required": params});
        json!({"name": name, "description": about, "inputSchema": schema})
    };
    json!([
        tool("find_checkup", "Look for a checkup.", &["patient", "date"]),
        tool("book_checkup", "Book a checkup.", &["city", "date"]),
        tool("postpone_checkup", "Move a checkup to another time.", &["patient", "time"]),
    ])
}

fn call(tool: &str, arguments: &Value) -> Result<Value, String> {
    let text = |name: &str| {
        let text = arguments[name].as_str().unwrap_or_default().trim();
        if text.is_empty() { Err(format!("{name} is empty")) } else { Ok(text) }
    };
    let two = |text: &str, least: u8, most: u8| {
        text.len() == 2 && text.parse().is_ok_and(|n| least <= n && n <= most)
    };
    let day = |date| match str::split(date, '-').collect::<Vec<_>>()[..] {
        [year, month, day] if year.len() == 4 && two(month, 1, 12) && two(day, 1, 31) => Ok(date),
        _ => Err(format!("{date} is no date such as 2026-03-05")),
    };
    match tool {
        "find_checkup" => {
            let (patient, date) = (text("patient")?, day(text("date")?)?);
            let n = patient
                .to_lowercase()
                .bytes()
                .fold(7u32, |n, byte| n.wrapping_mul(31).wrapping_add(byte.into()));
            Ok(
                json!({"patient": patient, "date": date, "room": n % 40 + 1, "time": format!("{:02}:{:02}", 8 + n / 40 % 10, n / 400 % 4 * 15)}),
            )
        }
        "book_checkup" => {
            let (city, date) = (text("city")?, day(text("date")?)?);
            Ok(json!({"booked": city, "date": date}))
        }
        "postpone_checkup" => {
            let (patient, time) = (text("patient")?, text("time")?);
            match time.split_once(':') {
                Some((hour, minute)) if two(hour, 0, 23) && two(minute, 0, 59) => {
                    Ok(json!({"patient": patient, "moved_to": time}))
                }
                _ => Err(format!("{time} is no time such as 14:30")),
            }
        }
        _ => Err(format!("there is no tool {tool}")),
    }
}
