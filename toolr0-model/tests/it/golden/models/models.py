"""The sample of golden checkpoints beside this script.

python models.py FULL_SET        (numpy 2.4.6, safetensors 0.8.0; FULL_SET = the folder models/ of the full golden set)

- qwen2-tied: the full set's checkpoint as it is, and of its golden numbers (transformers 5.23.0, torch 2.15.0) one
  row of 16 tokens and the greedy text.
- qwen3-mini, llama3-mini: too small for a file of their own there, so their numbers come from the definition below:
  float64, plain numpy, gradients by central differences. Before anything is written, that definition is held against
  all five checkpoints of the full set: logits, log-probs, loss, greedy text, and the slope along every gradient.
"""

import json, shutil, sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

FULL, HERE = Path(sys.argv[1]), Path(__file__).parent


def rms(x, w, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w


def inv_freq(cfg):
    d = cfg["head_dim"]
    f = 1.0 / cfg["rope_theta"] ** (np.arange(0, d, 2) / d)
    s = cfg["rope_scaling"]
    if not s:
        return f
    wave, ctx = 2 * np.pi / f, s["original_max_position_embeddings"]
    lo, hi = s["low_freq_factor"], s["high_freq_factor"]
    smooth = (ctx / wave - lo) / (hi - lo)
    mid = (1 - smooth) * f / s["factor"] + smooth * f
    return np.where(wave > ctx / lo, f / s["factor"], np.where(wave < ctx / hi, f, mid))


def logits(cfg, w, ids):
    """One sequence, (t,) ids to (t, v)."""
    h, kv, d, eps, t = cfg["num_attention_heads"], cfg["num_key_value_heads"], cfg["head_dim"], cfg["rms_norm_eps"], len(ids)
    angle = np.arange(t)[:, None] * inv_freq(cfg)
    cos, sin = np.cos(np.tile(angle, 2))[:, None], np.sin(np.tile(angle, 2))[:, None]  # (t, 1, d)
    turn = lambda x: x * cos + np.concatenate([-x[..., d // 2 :], x[..., : d // 2]], -1) * sin
    x = w["model.embed_tokens.weight"][ids]
    for i in range(cfg["num_hidden_layers"]):
        p = f"model.layers.{i}."
        n = rms(x, w[p + "input_layernorm.weight"], eps)

        def proj(name, heads):
            y = n @ w[p + f"self_attn.{name}_proj.weight"].T + w.get(p + f"self_attn.{name}_proj.bias", 0.0)
            y = y.reshape(t, heads, d)
            norm = w.get(p + f"self_attn.{name}_norm.weight")
            return y if norm is None else rms(y, norm, eps)

        q, k, v = turn(proj("q", h)), turn(proj("k", kv)), proj("v", kv)
        k, v = np.repeat(k, h // kv, 1), np.repeat(v, h // kv, 1)
        s = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(d)
        s = np.where(np.tri(t, dtype=bool), s, -np.inf)
        a = np.exp(s - s.max(-1, keepdims=True))
        a /= a.sum(-1, keepdims=True)
        x = x + np.einsum("hij,jhd->ihd", a, v).reshape(t, h * d) @ w[p + "self_attn.o_proj.weight"].T
        n = rms(x, w[p + "post_attention_layernorm.weight"], eps)
        gate, up = n @ w[p + "mlp.gate_proj.weight"].T, n @ w[p + "mlp.up_proj.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w[p + "mlp.down_proj.weight"].T
    return rms(x, w["model.norm.weight"], eps) @ w.get("lm_head.weight", w["model.embed_tokens.weight"]).T


def logprobs(cfg, w, ids):
    z = logits(cfg, w, ids)
    z = z - z.max(-1, keepdims=True)
    z = z - np.log(np.exp(z).sum(-1, keepdims=True))
    return z[np.arange(len(ids) - 1), ids[1:]]


def mean_nll(cfg, w, rows):
    return -np.concatenate([logprobs(cfg, w, row) for row in rows]).mean()


def greedy(cfg, w, prompt, n):
    ids = list(prompt)
    for _ in range(n):
        ids.append(int(logits(cfg, w, np.array(ids))[-1].argmax()))
    return ids


def read(name):
    cfg = json.loads((FULL / name / "config.v4.json").read_text())
    cfg.setdefault("head_dim", cfg["hidden_size"] // cfg["num_attention_heads"])
    w = {k: v.astype(np.float64) for k, v in load_file(FULL / name / "model.safetensors").items()}
    g = load_file(FULL / name / "golden.safetensors")
    return cfg, w, g, [row[: m.sum()] for row, m in zip(g["input_ids"], g["attention_mask"])]


def hold(name):
    cfg, w, g, rows = read(name)
    gap = max(np.abs(logits(cfg, w, r) - g["logits"][i, : len(r)]).max() for i, r in enumerate(rows))
    lp = max(np.abs(logprobs(cfg, w, r) - g["token_logprobs"][i, : len(r) - 1]).max() for i, r in enumerate(rows))
    loss = abs(mean_nll(cfg, w, rows) - g["loss"][0])
    n = int(g["greedy_prompt_len"][0])
    assert greedy(cfg, w, g["greedy_ids"][0, :n], g["greedy_ids"].shape[1] - n) == g["greedy_ids"][0].tolist(), name
    slope = 0.0
    for k in w:
        grad = g["grad." + k].astype(np.float64)
        unit, step = grad / np.linalg.norm(grad), 1e-4
        along = lambda s: mean_nll(cfg, {**w, k: w[k] + s * unit}, rows)
        slope = max(slope, abs((along(step) - along(-step)) / (2 * step) / np.linalg.norm(grad) - 1))
    print(f"{name}: logits {gap:.1e}, log-probs {lp:.1e}, loss {loss:.1e}, slopes {slope:.1e} relative")
    assert gap < 5e-5 and lp < 5e-5 and loss < 5e-6 and slope < 1e-4, name


def gradient(cfg, w, rows):
    out = {}
    for k in w:
        g = np.zeros_like(w[k])
        for i in np.ndindex(g.shape):
            old, step = w[k][i], 1e-6
            w[k][i] = old + step
            up = mean_nll(cfg, w, rows)
            w[k][i] = old - step
            g[i] = (up - mean_nll(cfg, w, rows)) / (2 * step)
            w[k][i] = old
        out[k] = g
    return out


def mini(name, seed, family, **own):
    """Two layers of width 8; the same numbers as the full set's script, in float64."""
    rng = np.random.default_rng(seed)
    cfg = {
        "architectures": [family + "ForCausalLM"], "model_type": family.lower(), "vocab_size": 32, "hidden_size": 8,
        "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 512, "head_dim": 4, "hidden_act": "silu", "initializer_range": 0.02,
        "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, **own,
    }  # fmt: skip
    c, m, v, d = 8, 12, 32, cfg["head_dim"]
    shapes = {"model.embed_tokens.weight": (v, c), "model.norm.weight": (c,)}
    for i in range(2):
        p = f"model.layers.{i}."
        for part, heads in [("q", 4), ("k", 2), ("v", 2)]:
            shapes[p + f"self_attn.{part}_proj.weight"] = (heads * d, c)
        shapes |= {p + "self_attn.o_proj.weight": (c, 4 * d), p + "mlp.gate_proj.weight": (m, c)}
        shapes |= {p + "mlp.up_proj.weight": (m, c), p + "mlp.down_proj.weight": (c, m)}
        shapes |= {p + "input_layernorm.weight": (c,), p + "post_attention_layernorm.weight": (c,)}
        if family == "Qwen3":
            shapes |= {p + "self_attn.q_norm.weight": (d,), p + "self_attn.k_norm.weight": (d,)}
    if not cfg["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (v, c)
    draw = lambda s: rng.normal(size=s) * 0.5 if len(s) > 1 else 1 + 0.2 * rng.normal(size=s)
    w = {k: draw(s).astype(np.float32).astype(np.float64) for k, s in sorted(shapes.items())}
    lens = [20, 11, 16]
    ids, mask = np.zeros((3, 20), np.int64), np.zeros((3, 20), np.int64)
    for b, n in enumerate(lens):
        ids[b, :n], mask[b, :n] = rng.integers(3, v, n), 1
    rows = [ids[b, :n] for b, n in enumerate(lens)]
    out = {"input_ids": ids, "attention_mask": mask}
    for key, width, f in [("logits", (20, v), logits), ("token_logprobs", (19,), logprobs)]:
        out[key] = np.zeros((3, *width))
        for b, row in enumerate(rows):
            got = f(cfg, w, row)
            out[key][b, : len(got)] = got
    out["loss"] = np.array([mean_nll(cfg, w, rows)])
    out |= {"greedy_prompt_len": np.array([12]), "greedy_ids": np.array([greedy(cfg, w, rows[0][:12], 24)])}
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    save_file({k: x.astype(np.float32) for k, x in w.items()}, folder / "model.safetensors", {"format": "pt"})

    moments = {k: (np.zeros_like(x), np.zeros_like(x)) for k, x in w.items()}
    losses = []
    for step in range(1, 11):
        losses.append(mean_nll(cfg, w, rows))
        grads = gradient(cfg, w, rows)
        if step == 1:
            out |= {"grad." + k: g for k, g in grads.items()}
        norm = np.sqrt(sum((g * g).sum() for g in grads.values()))
        for k, g in grads.items():
            g = g * min(1.0, 1.0 / (norm + 1e-6))
            m1, m2 = moments[k]
            m1, m2 = 0.9 * m1 + 0.1 * g, 0.999 * m2 + 0.001 * g * g
            moments[k] = m1, m2
            w[k] = w[k] * (1 - 1e-3 * 0.01)
            w[k] -= 1e-3 * (m1 / (1 - 0.9**step)) / (np.sqrt(m2 / (1 - 0.999**step)) + 1e-8)
    out["adamw_losses"] = np.array(losses)
    save_file({k: x if x.dtype == np.int64 else x.astype(np.float32) for k, x in out.items()}, folder / "golden.safetensors")
    v4 = {**cfg, "transformers_version": "4.46.1", "torch_dtype": "float32"}
    (folder / "config.v4.json").write_text(json.dumps(v4, indent=2) + "\n")
    rope = {"rope_theta": cfg.pop("rope_theta"), **(cfg.pop("rope_scaling") or {"rope_type": "default"})}
    v5 = {**cfg, "rope_parameters": rope, "transformers_version": "5.23.0", "dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(v5, indent=2) + "\n")
    print(f"{name}: loss {losses[0]:.4f}, after nine steps {losses[-1]:.4f}, {sum(x.size for x in w.values())} weights")


def cut(name):
    g, folder = load_file(FULL / name / "golden.safetensors"), HERE / name
    folder.mkdir(exist_ok=True)
    for file in ["config.json", "config.v4.json", "model.safetensors"]:
        shutil.copyfile(FULL / name / file, folder / file)
    take = {k: g[k][1:2, :16].copy() for k in ["input_ids", "attention_mask", "logits"]}
    take["token_logprobs"] = g["token_logprobs"][1:2, :15].copy()
    save_file(take | {k: g[k] for k in ["greedy_prompt_len", "greedy_ids"]}, folder / "golden.safetensors")


for name in ["qwen2-tied", "qwen2-untied", "qwen3", "llama3-scaled-rope", "llama-plain"]:
    hold(name)
cut("qwen2-tied")
scaled = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
mini("qwen3-mini", 1, "Qwen3", rope_theta=1e6, rope_scaling=None, rms_norm_eps=1e-6, tie_word_embeddings=True)
mini("llama3-mini", 2, "Llama", rope_theta=1e4, rope_scaling=scaled, rms_norm_eps=1e-5, tie_word_embeddings=False, mlp_bias=False)
