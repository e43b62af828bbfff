#!/usr/bin/env bash
# Real MCP servers that nobody here wrote, through `toolr0 tools`. Needs Python and its package index; the third one needs
# npm, and is left out where there is none.
#
#   benchmarks/baselines/mcp_servers.sh [path/to/toolr0]
#
# Installs pinned versions into a folder that is removed again, lists the tools of each server, and calls some. Fails where a
# call ends in another way than it should.
set -euo pipefail
toolr0=${1:-target/release/toolr0}
[ -x "$toolr0" ] || { echo "no program at $toolr0" >&2; exit 1; }
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
python3 -m venv "$home/venv"
"$home/venv/bin/pip" install -q mcp-server-time==2026.10.19 mcp-server-git==2026.10.19

git init -q "$home/repo"
git -C "$home/repo" -c user.name=A -c user.email=a@example.com commit -q --allow-empty -m "first"

time="mcp:$home/venv/bin/mcp-server-time --local-timezone UTC"
git="mcp:$home/venv/bin/mcp-server-git --repository $home/repo"

check() { # WANT SOURCE CALL
    local got
    got=$("$toolr0" tools call "$2" "$3" --timeout 30 || true)
    if ! grep -q "$1" <<<"$got"; then
        echo "expected $1, got $got" >&2
        exit 1
    fi
    head -c 200 <<<"$got"
    echo
}

"$toolr0" tools list "$time"
check '"timezone":"Europe/Oslo"' "$time" '{"name": "get_current_time", "arguments": {"timezone": "Europe/Oslo"}}'
check '"time_difference":"+9.0h"' "$time" \
    '{"name": "convert_time", "arguments": {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}}'
check 'tool_error' "$time" '{"name": "get_current_time", "arguments": {"timezone": "Nowhere"}}'
check 'refused' "$time" '{"name": "get_current_time", "arguments": {}}'

"$toolr0" tools list "$git"
check 'nothing to commit' "$git" "{\"name\": \"git_status\", \"arguments\": {\"repo_path\": \"$home/repo\"}}"
check 'first' "$git" "{\"name\": \"git_log\", \"arguments\": {\"repo_path\": \"$home/repo\"}}"
check 'tool_error' "$git" '{"name": "git_status", "arguments": {"repo_path": "/"}}'
if command -v npm > /dev/null; then
    npm install --silent --prefix "$home" @modelcontextprotocol/server-everything@2026.8.31
    everything="mcp:$home/node_modules/.bin/mcp-server-everything"
    "$toolr0" tools list "$everything"
    check 'The sum of 2 and 3 is 5' "$everything" '{"name": "get-sum", "arguments": {"a": 2, "b": 3}}'
    check '"temperature":' "$everything" '{"name": "get-structured-content", "arguments": {"location": "Chicago"}}'
    got=$("$toolr0" tools call "$everything" '{"name": "trigger-long-running-operation", "arguments": {"duration": 600}}' --timeout 3 || true)
    grep -q timed_out <<<"$got"
fi
echo "all calls ended as they should"
