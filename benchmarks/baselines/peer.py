"""The Python side of compare.py: TRL, transformers and torch on the same work as `examples/peer.rs`.

    peer.py checkpoints DIR                      two random Qwen2 checkpoints, `2m` and `30m`, in DIR
    peer.py sample|loss|loss-bf16|step CKPT      a piece of work for each line of stdin, a JSON line for each
"""

import json
import pathlib
import resource
import sys
import time

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, Qwen2Config, Qwen2ForCausalLM

PROMPTS, GROUP, PROMPT, NEW, TEMPERATURE = 8, 4, 256, 128, 0.7
SIZES = {"2m": (192, 6, 6, 2, 512, 2048), "30m": (512, 8, 8, 2, 1408, 16384)}


def checkpoints(folder):
    """Random weights; biases are not zero, so that they cost what they cost."""
    torch.manual_seed(0)
    for name, (hidden, layers, heads, kv, mlp, vocab) in SIZES.items():
        config = Qwen2Config(
            vocab_size=vocab, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
            num_key_value_heads=kv, intermediate_size=mlp, max_position_embeddings=2048, tie_word_embeddings=True,
            bos_token_id=1, eos_token_id=2, pad_token_id=0, use_sliding_window=False,
        )
        model = Qwen2ForCausalLM(config).float()
        with torch.no_grad():
            for key, value in model.named_parameters():
                if key.endswith("bias"):
                    value.normal_(0, 0.02)
        model.save_pretrained(pathlib.Path(folder) / name)


def answer(seconds):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"seconds": seconds, "peak_mb": peak}), flush=True)


def each_line(work):
    for _ in sys.stdin:
        start = time.perf_counter()
        work()
        answer(time.perf_counter() - start)


def sample(path):
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    model.generation_config.eos_token_id = None
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(4, model.config.vocab_size, (PROMPTS, PROMPT), generator=generator)
    ids = ids.repeat_interleave(GROUP, 0)
    config = GenerationConfig(
        do_sample=True, temperature=TEMPERATURE, top_k=0, top_p=1.0, max_new_tokens=NEW, eos_token_id=None,
        pad_token_id=0, use_cache=True,
    )

    def work():
        with torch.no_grad():
            out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
        assert out.shape[1] == PROMPT + NEW

    each_line(work)


def loss(path, dtype):
    """Forward and backward of the clipped loss on the last 128 of 384 tokens, in micro-batches of 8 rows."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype).train()
    model.config.use_cache = False
    rows = PROMPTS * GROUP
    ids = torch.randint(4, model.config.vocab_size, (rows, PROMPT + NEW))
    advantages = torch.randn(rows, 1)

    def work():
        model.zero_grad(set_to_none=True)
        for i in range(0, rows, 8):
            x = ids[i : i + 8]
            logits = model(x, use_cache=False, logits_to_keep=NEW + 1).logits[:, :-1].float()
            chosen = logits.gather(-1, x[:, -NEW:, None]).squeeze(-1)
            logprobs = chosen - torch.logsumexp(logits, -1)
            ratio = torch.exp(logprobs - logprobs.detach())
            (-(ratio * advantages[i : i + 8]).mean() * (8 / rows)).backward()

    each_line(work)


def step(path):
    """TRL's own trainer, held at the start of each step until a line arrives."""
    import tempfile

    import transformers
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    from trl import GRPOConfig, GRPOTrainer

    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    model.generation_config.eos_token_id = None
    words = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3}
    words |= {f"w{i}": i for i in range(4, model.config.vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.padding_side = "left"
    generator = torch.Generator().manual_seed(1)
    steps = 64
    draw = lambda: torch.randint(4, model.config.vocab_size, (PROMPT,), generator=generator)
    prompts = [" ".join(f"w{int(t)}" for t in draw()) for _ in range(PROMPTS * steps)]

    class Held(transformers.TrainerCallback):
        def on_step_begin(self, *args, **kwargs):
            if not sys.stdin.readline():
                sys.exit(0)
            self.start = time.perf_counter()

        def on_step_end(self, *args, **kwargs):
            answer(time.perf_counter() - self.start)

    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(), loss_type="grpo", beta=0.0, num_generations=GROUP,
        per_device_train_batch_size=8, gradient_accumulation_steps=4, max_completion_length=NEW,
        temperature=TEMPERATURE, max_steps=steps, logging_steps=steps, save_strategy="no", report_to="none",
        learning_rate=1e-5, bf16=False, gradient_checkpointing=False, use_cpu=True, disable_tqdm=True,
        generation_kwargs={"eos_token_id": None, "min_new_tokens": NEW},
    )
    reward = lambda completions, **_: [hash(c) % 1000 / 1000 for c in completions]
    trainer = GRPOTrainer(
        model=model, reward_funcs=reward, args=config, train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=tokenizer, callbacks=[Held()],
    )
    trainer.train()


if __name__ == "__main__":
    work, where = sys.argv[1:]
    torch.manual_seed(0)
    match work:
        case "checkpoints":
            checkpoints(where)
        case "sample":
            sample(where)
        case "loss":
            loss(where, torch.float32)
        case "loss-bf16":
            loss(where, torch.bfloat16)
        case "step":
            step(where)
        case _:
            sys.exit(f"`{work}` is no work")
