"""Does what toolr0 saves load in transformers and peft, and give toolr0's logits?

    python -m venv .venv && .venv/bin/pip install -r benchmarks/baselines/requirements.txt
    .venv/bin/python benchmarks/baselines/load_checkpoint.py runs/0-1/solver runs/0-2/solver
    .venv/bin/python benchmarks/baselines/load_checkpoint.py BASE+runs/0-1/solver/adapter

Run from the repository's root, by hand. An argument is a checkpoint, or a checkpoint, `+` and an adapter of it. Prints
one JSON object each and exits with 1 if token ids differ or a logit is off by more than 1e-4. The network is left alone.
"""

import argparse
import json
import os
import subprocess
import sys

os.environ["HF_HUB_OFFLINE"] = "1"  # an adapter names its base, which peft would otherwise ask the hub about

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXT = "<|im_start|>user\nBook a table for 2 in Oslo on 2026-03-05.<|im_end|>\n<|im_start|>assistant\n"
BUILD = ["cargo", "run", "--release", "-q", "-p", "toolr0-model", "--example", "logits", "--"]


def compare(checkpoint: str, adapter: str | None, logits: list[str]) -> dict:
    command = logits + [checkpoint] + ([adapter] if adapter else [])
    # What cargo says (that it builds, that another build has the lock) is for whoever waits.
    ours = json.loads(subprocess.run(command, input=TEXT, text=True, stdout=subprocess.PIPE, check=True).stdout)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    with torch.no_grad():
        tokens = tokenizer(TEXT)["input_ids"]
        plain = model.eval()(torch.tensor([tokens])).logits[0]
        theirs = plain
        if adapter:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, adapter).eval()
            theirs = model(torch.tensor([tokens])).logits[0]
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi."}], tokenize=False, add_generation_prompt=True
    )
    return {
        "checkpoint": checkpoint,
        "adapter": adapter,
        "architecture": model.config.architectures,
        "tokens_equal": tokens == ours["tokens"],
        "positions": len(tokens),
        "largest_logit": theirs.abs().max().item(),
        "largest_gap": (theirs - torch.tensor(ours["logits"])).abs().max().item(),
        # An adapter that changed nothing would prove nothing.
        "adapter_changes": (theirs - plain).abs().max().item() if adapter else None,
        "chat_template": chat,
        "generation_config": model.generation_config.to_diff_dict(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", nargs="+", metavar="CHECKPOINT[+ADAPTER]")
    parser.add_argument("--logits", help="the built example, instead of building it: target/release/examples/logits")
    args = parser.parse_args()
    good = True
    for argument in args.checkpoints:
        checkpoint, _, adapter = argument.partition("+")
        result = compare(checkpoint, adapter or None, [args.logits] if args.logits else BUILD)
        print(json.dumps(result), flush=True)
        good &= result["tokens_equal"] and result["largest_gap"] <= 1e-4
    return 0 if good else 1


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Python's own way out collects the garbage of all that torch has imported, for a minute on a busy machine.
    os._exit(code)
