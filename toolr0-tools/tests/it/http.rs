//! MCP servers over HTTP, which answer, keep silent, hang up or never stop.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use toolr0_tools::mcp::Server;
use toolr0_tools::{End, Limits, Sandbox, State, ToolCall};

/// A server in threads of this process, which end with it. Returns its address.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/mcp", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || respond(stream));
        }
    });
    address
}

/// One request, one answer.
fn respond(mut stream: TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut length, mut line) = (0, String::new());
    while reader.read_line(&mut line).ok()? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    let result = match (message["method"].as_str(), message["params"]["name"].as_str()) {
        (Some("initialize"), _) => json!({
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "Far", "version": "1"},
        }),
        (Some("tools/list"), _) => {
            let tools = ["echo", "never", "hang up", "flood"]
                .map(|name| json!({"name": name, "inputSchema": {"type": "object"}}));
            json!({"tools": tools})
        }
        (_, Some("echo")) => json!({"content": [{"type": "text", "text": "here"}]}),
        (_, Some("never")) => {
            std::thread::sleep(Duration::from_secs(3600));
            return None;
        }
        (_, Some("hang up")) => return None,
        (_, Some("flood")) => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n")
                .ok()?;
            loop {
                stream.write_all(&[b'x'; 1 << 16]).ok()?;
            }
        }
        _ => {
            let none = if message["method"].is_string() { "202 Accepted" } else { "405 Method Not Allowed" };
            let head = format!("HTTP/1.1 {none}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return stream.write_all(head.as_bytes()).ok();
        }
    };
    let text = json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
    write!(stream, "{head}Content-Length: {}\r\n\r\n{text}", text.len()).ok()
}

fn run(server: &Server, tool: &str, millis: u64) -> (End, Duration) {
    let limits = Limits { millis, output_bytes: 4 << 10, ..Limits::default() };
    let start = Instant::now();
    let outcome = server.run(&ToolCall::new(tool, serde_json::Map::new()), &mut State::default(), &limits);
    (outcome.end, start.elapsed())
}

#[test]
fn whatever_a_far_server_does_a_call_ends() {
    let server = Server::connect(&serve()).unwrap();
    assert_eq!((server.title(), server.tools().len()), ("Far", 4));
    let here = End::Value(json!("here"));
    assert_eq!(run(&server, "echo", 60_000).0, here);
    for (attack, kinds) in
        [("never", &["timed_out"][..]), ("hang up", &["broken"]), ("flood", &["broken", "timed_out"])]
    {
        let mut best = Duration::MAX;
        for _ in 0..5 {
            let (end, took) = run(&server, attack, 300);
            assert!(kinds.contains(&end.kind()) || end.kind() == "timed_out", "{attack}: {end:?}");
            best = best.min(took);
            assert_eq!(run(&server, "echo", 60_000).0, here, "after {attack}");
            if best <= Duration::from_millis(500) {
                break;
            }
        }
        assert!(best <= Duration::from_millis(500), "{attack} took {best:?}");
    }
}

#[test]
fn what_cannot_be_reached_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = Server::connect(&format!("http://{free}/mcp")).unwrap_err().to_string();
    assert!(refused.starts_with(&format!("failed to start http://{free}/mcp: ")), "{refused}");
    assert!(Server::connect("http://").is_err());
}
