"""Rows of `benchmarks/results/*.csv`: what was measured, at which commit, on which machine, by which command.

    python3 benchmarks/baselines/results.py [--bench kernels,reward,engine] [--filter TEXT] CSV

Runs the criterion benches and appends the median of each, in useful work per second (or in runs per second where a
bench has no such unit), and its spread: the width of the interval that criterion is 95 % sure of, over the median.
"""

import argparse
import csv
import json
import os
import pathlib
import platform
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
COLUMNS = ["commit", "machine", "command", "what", "unit", "median", "spread", "samples", "noisy", "peak_mb"]


def machine():
    """The processor's name and the number of cores."""
    lines = open("/proc/cpuinfo").read().splitlines()
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


def commit():
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def append(path, rows):
    """Adds rows to a file, which begins with the names of the columns."""
    new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", newline="") as file:
        out = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        if new:
            out.writeheader()
        for row in rows:
            out.writerow({"commit": commit(), "machine": machine()} | row)


def criterion(folder, since, command):
    """A row for each bench that wrote its estimates since then."""
    for estimates in sorted(folder.glob("**/new/estimates.json")):
        if estimates.stat().st_mtime < since:
            continue
        bench = json.loads(estimates.with_name("benchmark.json").read_text())
        sample = json.loads(estimates.with_name("sample.json").read_text())
        median = json.loads(estimates.read_text())["median"]
        seconds, interval = median["point_estimate"] * 1e-9, median["confidence_interval"]
        unit, amount = next(iter((bench["throughput"] or {"runs": 1}).items()))
        yield {
            "command": command, "what": bench["full_id"], "unit": f"{unit.lower()}/s", "median": f"{amount / seconds:.4g}",
            "spread": f"{(interval['upper_bound'] - interval['lower_bound']) * 1e-9 / seconds:.3f}",
            "samples": len(sample["times"]),
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv", type=pathlib.Path)
    parser.add_argument("--bench", default="kernels,reward,engine")
    parser.add_argument("--filter", default="", help="only benches whose names hold this")
    args = parser.parse_args()
    metadata = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
    target = json.loads(subprocess.run(metadata, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)["target_directory"]
    for bench in args.bench.split(","):
        command = ["cargo", "bench", "--workspace", "--bench", bench, "--", *([args.filter] * bool(args.filter))]
        start = time.time()
        subprocess.run(command, cwd=ROOT, check=True)
        rows = criterion(pathlib.Path(target) / "criterion", start, " ".join(command))
        append(args.csv, rows)


if __name__ == "__main__":
    main()
