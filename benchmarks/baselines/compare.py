"""toolr0 beside TRL, transformers and torch on the same work, in turn, on this machine.

    python3 benchmarks/baselines/compare.py [--work sample,loss,step] [--model 2m,30m] [--samples 5] [--json]

Builds our side with cargo, sets up a virtual environment of its own from `requirements.txt`, and writes two random
checkpoints. Each pair of processes is warmed up, then works in turn. A sample during which other processes used more
than 5 % of a core is thrown away. Prints medians and ratios; `--json` prints one object with `rows`.

Work: 8 prompts of 256 tokens, 4 completions of 128 tokens each. `sample` counts new tokens; `loss` and `step` count the
tokens of the padded, unshared batch, 32 x 384, so that work avoided counts as speed. Ours includes the optimiser's step
in `loss`, the peer's does not.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ROWS, PROMPT, NEW = 32, 256, 128
TOKENS = {"sample": ROWS * NEW, "loss": ROWS * (PROMPT + NEW), "step": ROWS * (PROMPT + NEW)}
TICKS = os.sysconf("SC_CLK_TCK")


def say(text):
    print(text, file=sys.stderr, flush=True)


def environment(folder):
    """The peer's Python, installed once into `folder`."""
    python = folder / "bin" / "python"
    stamp, wanted = folder / "requirements.txt", (HERE / "requirements.txt").read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        say(f"installing the peer into {folder}")
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "-r", HERE / "requirements.txt"]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        stamp.write_text(wanted)
    return python


def ours():
    """Our side, built; where cargo put it is what cargo says."""
    command = ["cargo", "build", "--release", "-p", "toolr0-benchmarks", "--example", "peer"]
    command += ["--message-format", "json-render-diagnostics"]
    out = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    built = [json.loads(line) for line in out.splitlines()]
    return next(b["executable"] for b in built if b.get("target", {}).get("name") == "peer" and b.get("executable"))


def busy():
    """Seconds of processor time of the whole machine, and stolen ones."""
    fields = [int(x) for x in open("/proc/stat").readline().split()[1:]]
    return sum(fields[i] for i in (0, 1, 2, 5, 6)) / TICKS, fields[7] / TICKS


def own(pid):
    """Processor seconds of a process and its children that ended."""
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return sum(int(x) for x in fields[11:15]) / TICKS


class Worker:
    """A process that does one piece of work for each line it gets."""

    def __init__(self, command, log):
        env = os.environ | {"OMP_NUM_THREADS": "2", "TOKENIZERS_PARALLELISM": "false"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=env
        )

    def work(self):
        """One answer, with the load that others put on the machine meanwhile, in cores."""
        (all_before, stolen_before), own_before = busy(), own(self.process.pid)
        start = time.perf_counter()
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith('{"seconds"'):
                break
        else:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}; see the log")
        wall = time.perf_counter() - start
        (all_after, stolen_after), own_after = busy(), own(self.process.pid)
        foreign = max(0.0, (all_after - all_before) - (own_after - own_before)) / wall
        quiet = foreign < 0.05 + 0.02 / wall and (stolen_after - stolen_before) / wall < 0.05
        return json.loads(line), quiet

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def compare(sides, samples):
    """Accepted samples of each side, taken in turn."""
    for worker in sides:
        worker.work()
        worker.work()
    taken = [[] for _ in sides]
    thrown = 0
    while min(map(len, taken)) < samples:
        for mine, worker in zip(taken, sides):
            sample, quiet = worker.work()
            if quiet:
                mine.append(sample)
            else:
                thrown += 1
                time.sleep(1)
        if thrown > 10 * samples:
            raise RuntimeError(f"the machine is not quiet: {thrown} samples thrown away")
    return taken, thrown


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", default="sample,loss,loss-bf16,step")
    parser.add_argument("--model", default="2m,30m")
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--dir", type=pathlib.Path, default=ROOT / "target" / "compare")
    args = parser.parse_args()
    python = environment(args.dir / "venv")
    binary = ours()
    models = args.dir / "checkpoints"
    if not (models / "30m" / "config.json").exists():
        subprocess.run([python, HERE / "peer.py", "checkpoints", models], check=True, stdout=sys.stderr)
    rows = []
    for model in args.model.split(","):
        for work in args.work.split(","):
            path, kind = models / model, work.removesuffix("-bf16")
            log = open(args.dir / f"{work}-{model}.log", "w")
            sides = [Worker([binary, kind, path], log), Worker([python, HERE / "peer.py", work, path], log)]
            try:
                (a, b), thrown = compare(sides, args.samples)
            finally:
                for worker in sides:
                    worker.end()
            rates = [[TOKENS[kind] / s["seconds"] for s in side] for side in (a, b)]
            median = [statistics.median(r) for r in rates]
            peak = [max(s["peak_mb"] for s in side) for side in (a, b)]
            spread = [(max(r) - min(r)) / statistics.median(r) for r in rates]
            rows.append(
                {"work": work, "model": model, "ours": median[0], "peer": median[1], "ratio": median[0] / median[1],
                 "unit": "tokens/s", "samples": args.samples, "thrown_away": thrown, "ours_spread": spread[0],
                 "peer_spread": spread[1], "ours_peak_mb": peak[0], "peer_peak_mb": peak[1]}
            )
            say(
                f"{work:10} {model:4} ours {median[0]:8.0f}  peer {median[1]:8.0f} tokens/s  ratio {rows[-1]['ratio']:.2f}"
                f"  memory {peak[0]:.0f} / {peak[1]:.0f} MB"
            )
    if args.json:
        print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
