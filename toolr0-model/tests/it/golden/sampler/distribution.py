"""Distributions after temperature, top-k, top-p and min-p, as transformers' logits warpers define them
(`generation/logits_process.py`: TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper,
MinPLogitsWarper, in this order), written out in plain Python.

Python 3, standard library only, seed 11.   python distribution.py > distribution.json
"""
import json
import math
import random

INF = float("inf")


def softmax(x):
    m = max(x)
    e = [math.exp(v - m) for v in x]
    return [v / sum(e) for v in e]


def top_k(x, k):
    kth = sorted(x, reverse=True)[min(k, len(x)) - 1]
    return [-INF if v < kth else v for v in x]


def top_p(x, p):
    order = sorted(range(len(x)), key=lambda i: x[i])  # ascending and stable, as torch.sort on the CPU
    probs = softmax([x[i] for i in order])
    cumulative, removed = 0.0, []
    for i, q in zip(order, probs):
        cumulative += q
        removed.append(cumulative <= 1 - p)
    removed[-1] = False
    out = list(x)
    for i, r in zip(order, removed):
        if r:
            out[i] = -INF
    return out


def min_p(x, p):
    probs = softmax(x)
    return [-INF if q < p * max(probs) else v for v, q in zip(x, probs)]


rng = random.Random(11)
rows = {
    "normal": [round(rng.gauss(0, 2), 3) for _ in range(30)],
    "outlier": [round(rng.gauss(0, 1), 3) for _ in range(29)] + [9.5],
    "ties": [1.0, 2.0, 2.0, 0.5, 2.0, 1.0, 1.0, -1.0, 2.0, 0.5],
    "banned": [-INF, 0.25, 1.5, -INF, -2.0, 0.75, 3.0, -INF],
    "flat": [0.0] * 8,
    "one": [3.0],
}
cases = []
for name, row in rows.items():
    for t in [0.5, 1.0, 1.7]:
        for k in [None, 1, 3, 12]:
            for p in [1.0, 0.9, 0.35]:
                for m in [0.0, 0.1, 0.6]:
                    if name in ("flat", "ties") and p == 0.35 and k == 3:
                        continue  # an edge that falls on equal sums: rounding decides
                    x = [v / t for v in row]
                    x = top_k(x, k) if k else x
                    x = top_p(x, p) if p < 1 else x
                    x = min_p(x, m) if m > 0 else x
                    probs = [float(f"{v:.10g}") for v in softmax(x)]
                    cases.append({"row": name, "temperature": t, "top_k": k, "top_p": p, "min_p": m, "probs": probs})
rows = {name: [None if v == -INF else v for v in row] for name, row in rows.items()}
print('{"format": 1, "rows": ' + json.dumps(rows) + ', "cases": [')
print(",\n".join(json.dumps(c) for c in cases) + "]}")
