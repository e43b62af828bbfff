"""toolr0 beside TRL, transformers and torch on the same work, in turn, on this machine.

    python3 benchmarks/baselines/compare.py [--work sample,loss,step] [--model 2m,30m] [--samples 5] [--json]
        [--folder DIR] [--results CSV] [--accept-noisy]

Builds our side with cargo, sets up a virtual environment of its own from `requirements.txt`, and writes two random
checkpoints, all under `--folder` (the user's cache, unless told). Each pair of processes is warmed up, then works in
turn. A sample during which other processes used more than 5 % of a core is thrown away, and the next one waits for a
quiet machine; after too many the comparison ends with an error, unless `--accept-noisy` takes what comes and counts it.
Prints medians and ratios; `--json` prints one object with `rows`; `--results` appends a line a side to a CSV file.

Work: 8 prompts of 256 tokens, 4 completions of 128 tokens each. `sample` counts new tokens; `loss` and `step` count the
tokens of the padded, unshared batch, 32 x 384, so that work avoided counts as speed. Ours includes the optimiser's step
in `loss`, the peer's does not. Of `step`, `memory_ratio` is our peak of resident memory over the peer's. `loss-bf16`
is `loss` beside the peer in bf16.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import results

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


def foreign_load(seconds):
    """Cores that all processes used during some seconds in which ours do nothing."""
    (before, stolen_before), start = busy(), time.perf_counter()
    time.sleep(seconds)
    (after, stolen_after), wall = busy(), time.perf_counter() - start
    return (after - before + stolen_after - stolen_before) / wall


def wait_for_quiet(patience=60):
    """Waits until nobody else works, for so many seconds at most."""
    end = time.perf_counter() + patience
    while 0.05 < foreign_load(2) and time.perf_counter() < end:
        pass


class Worker:
    """A process that does one piece of work for each line it gets."""

    def __init__(self, command, log, threads):
        # Our command line turns candle's spinning worker threads off, so its stand-in here does too.
        env = os.environ | {
            "OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads), "CANDLE_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        self.log = log.name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=env
        )

    def work(self):
        """One answer, and whether others left the machine alone meanwhile."""
        (all_before, stolen_before), own_before = busy(), own(self.process.pid)
        start = time.perf_counter()
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        for line in self.process.stdout:
            if line.startswith('{"seconds"'):
                break
        else:
            sys.exit(f"{self.process.args[0]} ended with {self.process.wait()}; see {self.log}")
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
            self.process.wait()


def compare(sides, samples, accept_noisy):
    """Accepted samples of each side, taken in turn, and how many were noisy."""
    for worker in sides:
        worker.work()
    taken, noisy = [[] for _ in sides], 0
    while min(map(len, taken)) < samples:
        for mine, worker in zip(taken, sides):
            sample, quiet = worker.work()
            noisy += not quiet
            if quiet or accept_noisy:
                mine.append(sample)
            else:
                wait_for_quiet()
        if not accept_noisy and 2 * samples + 10 < noisy:
            sys.exit(
                f"the machine is not quiet: {noisy} samples were disturbed by other processes, and "
                f"{min(map(len, taken))} of {samples} were not; stop what else runs, or say --accept-noisy"
            )
    return taken, noisy


def summary(work, model, taken, noisy):
    """One row: medians of tokens per second, their ratio, spreads and peaks."""
    rates = [[TOKENS[work.removesuffix("-bf16")] / s["seconds"] for s in side] for side in taken]
    ours, peer = map(statistics.median, rates)
    spread = [(max(r) - min(r)) / statistics.median(r) for r in rates]
    peaks = [max(s["peak_mb"] for s in side) for side in taken]
    return {
        "work": work, "model": model, "ours": ours, "peer": peer, "ratio": ours / peer, "unit": "tokens/s",
        "samples": min(map(len, taken)), "noisy": noisy, "ours_spread": spread[0], "peer_spread": spread[1],
        "ours_peak_mb": peaks[0], "peer_peak_mb": peaks[1], "memory_ratio": peaks[0] / peaks[1],
    }


def result_rows(rows):
    """A line for each side of each row."""
    command = "compare.py " + " ".join(sys.argv[1:])
    for row in rows:
        for side in ("ours", "peer"):
            yield {
                "command": command, "what": f"{row['work']} {row['model']}, {side}", "unit": row["unit"],
                "median": f"{row[side]:.1f}", "spread": f"{row[side + '_spread']:.3f}", "samples": row["samples"],
                "noisy": row["noisy"], "peak_mb": f"{row[side + '_peak_mb']:.0f}",
            }


def cache():
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "toolr0" / "compare"


def checkpoints(python, folder):
    """The two random checkpoints, whole or not at all."""
    if not folder.exists():
        half = folder.with_name("checkpoints.part")
        subprocess.run([python, HERE / "peer.py", "checkpoints", half], check=True, stdout=sys.stderr)
        half.rename(folder)
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", default="sample,loss,step", help="of sample, loss, loss-bf16, step")
    parser.add_argument("--model", default="2m,30m")
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--folder", type=pathlib.Path, default=cache(), help="for the environment and checkpoints")
    parser.add_argument("--ours", help="our side, built before: target/release/examples/peer")
    parser.add_argument("--results", type=pathlib.Path, help="a CSV file to append to")
    parser.add_argument("--accept-noisy", action="store_true", help="keep samples that others disturbed")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    works, models = args.work.split(","), args.model.split(",")
    if not set(works) <= {"sample", "loss", "loss-bf16", "step"} or not set(models) <= {"2m", "30m"}:
        parser.error("--work is of sample, loss, loss-bf16, step; --model of 2m, 30m")
    if args.samples < 1:
        parser.error("--samples is at least 1")
    args.folder.mkdir(parents=True, exist_ok=True)
    python, binary = environment(args.folder / "venv"), args.ours or ours()
    root = checkpoints(python, args.folder / "checkpoints")
    rows = []
    for model in models:
        for work in works:
            path = root / model
            log = open(args.folder / f"{work}-{model}.log", "w")
            commands = [binary, work.removesuffix("-bf16"), path], [python, HERE / "peer.py", work, path]
            sides = [Worker(command, log, args.threads) for command in commands]
            try:
                row = summary(work, model, *compare(sides, args.samples, args.accept_noisy))
            finally:
                for worker in sides:
                    worker.end()
            rows.append(row)
            print(
                f"{work:9} {model:4} ours {row['ours']:8.0f}  peer {row['peer']:8.0f} tokens/s  ratio {row['ratio']:.2f}"
                f"  memory {row['ours_peak_mb']:.0f} / {row['peer_peak_mb']:.0f} MB  noisy {row['noisy']}",
                file=sys.stderr if args.json else sys.stdout, flush=True,
            )
    if args.results:
        results.append(args.results, result_rows(rows))
    if args.json:
        print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
