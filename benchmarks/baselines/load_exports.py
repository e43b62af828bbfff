"""Does what `toolr0 export` writes open in the `datasets` library, and say the same in both forms?

    python -m venv .venv && .venv/bin/pip install -r benchmarks/baselines/requirements.txt
    toolr0 export runs/0-1 --out messages.jsonl && toolr0 export runs/0-1 --out tasks.parquet
    .venv/bin/python benchmarks/baselines/load_exports.py messages.jsonl tasks.parquet

Run by hand. Prints one JSON object and exits with 1 if the two files differ.
"""

import json
import sys

import datasets


def plain(value):
    """A value without the keys that `datasets` fills with None where other rows have them."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items() if inner is not None}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def main() -> int:
    lines, table = sys.argv[1:]
    lines = datasets.load_dataset("json", data_files=lines, split="train")
    table = datasets.load_dataset("parquet", data_files=table, split="train")
    equal = len(lines) == len(table)
    for line, row in zip(lines, table):
        equal &= line["id"] == row["id"]
        for key in ["messages", "tools"]:
            equal &= plain(line[key]) == plain(json.loads(row[key]))
        gold = [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in line["messages"][1]["tool_calls"]]
        equal &= gold == [(call["name"], call["arguments"]) for call in json.loads(row["gold"])]
        equal &= line["messages"][0]["content"] == row["question"]
    result = {"datasets": datasets.__version__, "rows": len(lines), "equal": bool(equal),
              "columns": {"jsonl": lines.column_names, "parquet": table.column_names}}
    print(json.dumps(result))
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
