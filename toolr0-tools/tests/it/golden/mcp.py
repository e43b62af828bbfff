"""Records what published MCP servers answer to `tools/list`, as mcp-time.json and mcp-git.json beside this file.

    pip install mcp-server-time==2026.10.19 mcp-server-git==2026.10.19
    python mcp.py
"""

import json
import pathlib
import subprocess
import sys

SERVERS = {"time": ["mcp_server_time", "--local-timezone=UTC"], "git": ["mcp_server_git"]}
HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "golden", "version": "1"}}


def ask(module: list[str]) -> dict:
    server = subprocess.Popen([sys.executable, "-m", *module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def send(message: dict) -> None:
        server.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        server.stdin.flush()

    send({"id": 1, "method": "initialize", "params": HELLO})
    server.stdout.readline()
    send({"method": "notifications/initialized"})
    send({"id": 2, "method": "tools/list"})
    reply = json.loads(server.stdout.readline())
    server.stdin.close()
    server.wait(10)
    return reply


for name, module in SERVERS.items():
    path = pathlib.Path(__file__).with_name(f"mcp-{name}.json")
    path.write_text(json.dumps(ask(module), indent=1) + "\n")
