"""Does what toolr0 saves load in transformers and peft, and give toolr0's logits?

    python -m venv .venv && .venv/bin/pip install -r benchmarks/baselines/requirements.txt
    .venv/bin/python benchmarks/baselines/load_checkpoint.py runs/0-1/solver
    .venv/bin/python benchmarks/baselines/load_checkpoint.py BASE --adapter runs/0-1/solver/adapter

Run from the repository's root, by hand. Prints one JSON object and exits with 1 if a logit is off by more than 1e-4.
"""

import argparse
import json
import subprocess
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXT = "<|im_start|>user\nBook a table for 2 in Oslo on 2026-03-05.<|im_end|>\n<|im_start|>assistant\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("--adapter")
    parser.add_argument("--logits", help="the built example, instead of building it: target/release/examples/logits")
    args = parser.parse_args()

    paths = [args.checkpoint] + ([args.adapter] if args.adapter else [])
    build = ["cargo", "run", "--release", "-q", "-p", "toolr0-model", "--example", "logits", "--"]
    command = ([args.logits] if args.logits else build) + paths
    ours = json.loads(subprocess.run(command, input=TEXT, text=True, capture_output=True, check=True).stdout)

    tokenizer = AutoTokenizer.from_pretrained(args.checkpoint)
    model = AutoModelForCausalLM.from_pretrained(args.checkpoint, dtype=torch.float32)
    if args.adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, args.adapter)
    model.eval()
    tokens = tokenizer(TEXT)["input_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0]
    gap = (logits - torch.tensor(ours["logits"])).abs().max().item()
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi."}], tokenize=False, add_generation_prompt=True
    )
    result = {
        "tokens_equal": tokens == ours["tokens"],
        "positions": len(tokens),
        "largest_gap": gap,
        "chat_template": chat,
        "generation_config": model.generation_config.to_diff_dict(),
    }
    print(json.dumps(result))
    return 0 if result["tokens_equal"] and gap <= 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
