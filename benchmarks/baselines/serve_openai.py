"""Talks to `toolr0 serve` with OpenAI's own client: completions, tools, streams, logprobs, refusals.

    pip install openai==3.57.0
    cargo run --release -- serve --port 8017 &
    python benchmarks/baselines/serve_openai.py http://127.0.0.1:8017/v1

Prints one line a check and ends with an error at the first that fails.
"""

import json
import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1], api_key="unused", max_retries=0, timeout=120)
model = client.models.list().data[0].id
TOOLS = [{"type": "function", "function": {"name": "book_room", "description": "Book a room.", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}, "guests": {"type": "integer"}}, "required": ["city"]}}}]
MESSAGES = [{"role": "user", "content": "Book a room in Oslo for 3 guests."}]


def ask(**more):
    return client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=96, **more)


def check(what, holds):
    print(("ok      " if holds else "FAILED  ") + what)
    if not holds:
        sys.exit(1)


plain = ask(seed=1, n=2, logprobs=True)
check("two choices with usage", len(plain.choices) == 2 and plain.usage.completion_tokens > 0)
check("log-probabilities", all(t.logprob <= 0 for t in plain.choices[0].logprobs.content))
check("a seed repeats", ask(seed=1, n=2).choices[1].message.content == plain.choices[1].message.content)
pieces = list(ask(seed=1, n=2, stream=True, stream_options={"include_usage": True}))
text = "".join(c.delta.content or "" for p in pieces for c in p.choices if c.index == 0)
check("a stream says the same", text == plain.choices[0].message.content)
check("usage ends a stream", pieces[-1].usage == plain.usage)

offered = ask(tools=TOOLS, temperature=0).choices[0]
check("a call, or words", bool(offered.message.tool_calls) == (offered.finish_reason == "tool_calls"))
called = ask(tools=TOOLS, tool_choice={"type": "function", "function": {"name": "book_room"}}, temperature=0)
calls = called.choices[0].message.tool_calls or []
check("a forced call", [c.function.name for c in calls] == ["book_room"] and called.choices[0].finish_reason == "tool_calls")
check("arguments are JSON", isinstance(json.loads(calls[0].function.arguments), dict))
streamed = list(ask(tools=TOOLS, tool_choice={"type": "function", "function": {"name": "book_room"}}, temperature=0, stream=True))
deltas = [d for p in streamed for c in p.choices for d in c.delta.tool_calls or []]
check("a streamed call", [d.function.arguments for d in deltas] == [c.function.arguments for c in calls])
turn = [*MESSAGES, called.choices[0].message, {"role": "tool", "tool_call_id": calls[0].id, "content": "booked"}]
check("a conversation goes on", client.chat.completions.create(model=model, messages=turn, tools=TOOLS, max_tokens=8).choices)
for what, error, more in [("n=0", openai.BadRequestError, {"n": 0}), ("top_logprobs", openai.BadRequestError, {"logprobs": True, "top_logprobs": 2})]:
    try:
        ask(**more)
        check(f"{what} is refused", False)
    except error as refusal:
        check(f"{what} is refused: {refusal.message}", True)
