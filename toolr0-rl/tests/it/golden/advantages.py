"""Golden advantages, from the formulas and Python's exact fractions and statistics module alone.

python 3.11 or later, no packages.   python advantages.py 7 > advantages.json
"""
import json, math, random, statistics, sys
from fractions import Fraction

random.seed(int(sys.argv[1]))
EPS = 1e-4


def known(xs):
    return [x for x in xs if x is not None]


def mean(xs):
    xs = known(xs)
    return float(sum(Fraction(x) for x in xs) / len(xs)) if xs else 0.0


def std(xs):
    xs = known(xs)
    return statistics.stdev(xs) if len(xs) > 1 else 0.0


def each(group, f):
    return [0.0 if r is None else f(r, i) for i, r in enumerate(group)]


def normed(group):
    m, s = mean(group), std(group)
    return [None if r is None else (r - m) / (s + EPS) for r in group]


def whiten(xs, weights):
    pairs = [(x, w) for x, w in zip(xs, weights) if x is not None]
    count = sum(w for _, w in pairs)
    m = sum(x * w for x, w in pairs) / count
    v = sum((x - m) ** 2 * w for x, w in pairs) / (count - 1)
    return [0.0 if x is None else (x - m) / math.sqrt(v + 1e-8) for x in xs]


def flat(group):
    return len(set(known(group))) < 2


def answer(case):
    n, total, lens = case["n"], case["rewards"], case["lengths"]
    groups = [total[i : i + n] for i in range(0, len(total), n)]
    lengths = [lens[i : i + n] for i in range(0, len(lens), n)]
    batch = std(total)

    def rloo(g):
        def one(r, i):
            others = known(g[:i] + g[i + 1 :])
            return r - mean(others) if others else 0.0
        return each(g, one)

    def opo(g, ls):
        pairs = [(r, l) for r, l in zip(g, ls) if r is not None]
        weight = sum(l for _, l in pairs)
        base = sum(r * l for r, l in pairs) / weight if weight else 0.0
        return each(g, lambda r, i: r - base)

    def baseline(weights):
        centred = [None if r is None else r - mean(g) for g in groups for r in g]
        white = whiten(centred, weights)
        return [0.0 if flat(groups[i // n]) else w for i, w in enumerate(white)]

    sums = []
    for i in range(0, len(total), n):
        zs = [(w, normed(term[i : i + n])) for w, term in zip(case["weights"], case["terms"])]
        for j in range(n):
            have = [w * z[j] for w, z in zs if z[j] is not None]
            sums.append(sum(have) if have else None)
    gm, gs = mean(sums), std(sums)
    gdpo = [0.0 if s is None else (s - gm) / (gs + EPS) for s in sums]
    ones = [1] * len(total)
    return {
        "grpo_group": [a or 0.0 for g in groups for a in normed(g)],
        "grpo_batch": [a for g in groups for a in each(g, lambda r, i: (r - mean(g)) / (batch + EPS))],
        "grpo_none": [a for g in groups for a in each(g, lambda r, i: r - mean(g))],
        "rloo": [a for g in groups for a in rloo(g)],
        "max_rl": [a for g in groups for a in each(g, lambda r, i: (r - mean(g)) / mean(g) if mean(g) > 0 else 0.0)],
        "opo": [a for g, ls in zip(groups, lengths) for a in opo(g, ls)],
        "reinforce_plus_plus": whiten(total, ones),
        "reinforce_plus_plus_tokens": whiten(total, lens),
        "reinforce_plus_plus_baseline": baseline(ones),
        "reinforce_plus_plus_baseline_tokens": baseline(lens),
        "gdpo": gdpo,
    }


cases = []
for n, g in [(4, 3), (2, 5), (8, 2), (3, 4)]:
    draw = lambda: None if random.random() < 0.12 else random.randint(-3, 8) / 8
    terms = [[draw() for _ in range(n * g)] for _ in range(3)]
    case = {
        "n": n,
        "rewards": [draw() for _ in range(n * g)],
        "lengths": [random.randint(1, 40) for _ in range(n * g)],
        "terms": terms,
        "weights": [1.0, 0.5, 2.0],
    }
    case["rewards"][:n] = [0.3] * n
    case["want"] = answer(case)
    cases.append(case)
json.dump({"format": 1, "cases": cases}, sys.stdout, indent=None)
print()
