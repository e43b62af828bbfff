"""A server that nobody here wrote, `transformers serve`, in place of a model in the process.

    python -m venv .venv && .venv/bin/pip install -r benchmarks/baselines/requirements.txt
    .venv/bin/python benchmarks/baselines/foreign_endpoint.py target/release/toolr0 runs/0-1/solver

Run by hand. Serves the checkpoint, measures it over the server and in the process (greedy answers, whose calls should be
the same), and goes through a small self-play run in which the server is the frozen solver and the judge. Prints one JSON
object and exits with 1 if answers did not come, or differ in more than one of ten: the two compute the same model, but not
in the same order, so that a tie may break otherwise.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

import transformers

PORT = 8019
QUESTIONS = 20
# Every phase once, with batches that a CPU can serve.
RUN = {
    "selfplay.iterations": 1, "selfplay.generator_steps": 1, "selfplay.solver_steps": 2,
    "generator.prompts": 2, "generator.group_size": 2, "solver.prompts": 2, "solver.group_size": 4,
    "probe.samples": 2, "dataset.candidates": 16, "dataset.samples": 2, "dataset.agreement": 0, "dataset.tasks": 8,
    "exam.items": 8, "reward.generator.curriculum_weights.semantic": 0.5,
}


def main() -> int:
    toolr0, checkpoint = (str(pathlib.Path(path).resolve()) for path in sys.argv[1:])
    url = f"http://127.0.0.1:{PORT}"
    serve = [sys.executable, "-m", "transformers.cli.transformers", "serve", checkpoint, "--host", "127.0.0.1", "--port", str(PORT),
             "--device", "cpu", "--dtype", "float32"]
    with tempfile.TemporaryDirectory() as home, subprocess.Popen(serve, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:
        try:
            while True:
                try:
                    urllib.request.urlopen(f"{url}/health").read()
                    break
                except OSError:
                    if server.poll() is not None:
                        raise SystemExit("transformers serve has ended")
                    time.sleep(1)

            def run(*args):
                start = time.time()
                done = subprocess.run([toolr0, *args, "--json"], cwd=home, capture_output=True, text=True)
                if done.returncode:
                    raise SystemExit(f"{args}: {done.stderr}")
                return json.loads(done.stdout.splitlines()[-1]), round(time.time() - start, 1)

            def answers(name):
                lines = [json.loads(line) for line in (pathlib.Path(home) / name).read_text().splitlines()]
                # The server keeps the text between <think> tags apart.
                return [(line["id"], line["prediction"], line["solved"]) for line in lines]

            outside = ["--endpoint", url, "--endpoint-model", checkpoint, "--endpoint-concurrency", "2"]
            common = ["eval", "--limit", str(QUESTIONS), "--max-new-tokens", "192", "--style", "compact"]
            here, _ = run(*common, "--model", checkpoint, "--out", "here.jsonl")
            there, seconds = run(*common, *outside, "--out", "there.jsonl")
            same = sum(a == b for a, b in zip(answers("here.jsonl"), answers("there.jsonl")))
            sets = [part for key, value in RUN.items() for part in ("--set", f"{key}={value}")]
            game, game_seconds = run("selfplay", "--model", checkpoint, "--config", "nano", "--out", "run", *sets, *outside)
            records = [json.loads(line) for line in (pathlib.Path(home) / "run/metrics.jsonl").read_text().splitlines()]
        finally:
            server.terminate()
    dataset = next(record for record in records if record["record"] == "dataset")
    result = {
        "transformers": transformers.__version__,
        "eval": {"questions": QUESTIONS, "same_answers": same, "solved_here": here["solved"], "solved_there": there["solved"],
                 "unknown": there["unknown"], "seconds": seconds},
        "selfplay": {"tasks": dataset["tasks"], "unknown": game.get("unknown", {}), "seconds": game_seconds,
                     "success_rate": dataset["success_rate"]},
    }
    print(json.dumps(result))
    good = 10 * same >= 9 * QUESTIONS and not there["unknown"] and not game.get("unknown")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
