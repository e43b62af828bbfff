"""Puts `toolr0 serve` under load: 64 clients, 2,000 requests, with broken, huge and cut-off ones among them.

    cargo run --release -- serve --port 8017 &
    python benchmarks/baselines/serve_load.py 8017 PID

Python's standard library alone. Prints one JSON object: answers by kind and status, seconds, tokens, and the largest
memory of the server (of /proc/PID/status) before and after.
"""

import collections
import http.client
import json
import socket
import sys
import threading
import time

PORT, PID = int(sys.argv[1]), sys.argv[2]
CLIENTS, REQUESTS = 64, 2000
GOOD = json.dumps({"messages": [{"role": "user", "content": "Please book a room for 3 guests in Oslo."}], "max_tokens": 32, "seed": 5})
KINDS = ["good", "good", "stream", "good", "broken", "stream", "huge", "good", "cut", "gone"]
counts, lock, tokens = collections.Counter(), threading.Lock(), [0]
numbers = iter(range(REQUESTS))


def memory():
    status = open(f"/proc/{PID}/status").read()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) // 1024


def post(body):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=300)
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    return response.status, response.read()


def one(kind):
    """Returns what became of one request."""
    if kind in ("cut", "gone"):  # half a body; or a whole one, and nobody waits
        body = GOOD.encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", PORT), timeout=300) as connection:
            connection.sendall(head + (body[:20] if kind == "cut" else body))
        return "left"
    if kind == "huge":
        try:
            return post("x" * (4 << 20))[0]
        except OSError:  # refused before all of it was sent
            return "refused"
    status, body = post({"broken": GOOD[:30], "stream": GOOD[:-1] + ', "stream": true}'}.get(kind, GOOD))
    if kind == "good" and status == 200:
        with lock:
            tokens[0] += json.loads(body)["usage"]["completion_tokens"]
    if kind == "stream" and status == 200 and not body.endswith(b"data: [DONE]\n\n"):
        return "torn"
    return status


def client():
    while True:
        with lock:
            number = next(numbers, None)
        if number is None:
            return
        kind = KINDS[number % len(KINDS)]
        while True:
            try:
                result = one(kind)
            except Exception as error:  # lost: named in the result
                result = type(error).__name__
            with lock:
                counts[f"{kind} {result}"] += 1
            if result != 429:
                break
            time.sleep(1)


before, start = memory(), time.time()
threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
seconds = time.time() - start
print(json.dumps({"clients": CLIENTS, "requests": REQUESTS, "seconds": round(seconds, 1), "answers": dict(sorted(counts.items())),
                  "tokens_of_whole_answers": tokens[0], "mib_before": before, "mib_after": memory()}))
