"""transformers and TRL on the work of `toolr0-rl/examples/gpu_loop.rs`, on a GPU, in bf16.

    peer.py sample|step CHECKPOINT    one JSON object: seconds, peak_mib

8 prompts of 512 tokens, 4 completions of 512 each, never ended early. Memory is what the device has less of than when
the program began; torch's allocator gives nothing back, so the end is the most. Seconds are the median of three rounds
after one more.
"""

import json
import statistics
import sys
import tempfile
import time

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

PROMPTS, GROUP, PROMPT, NEW, ROUNDS = 8, 4, 512, 512, 3


def taken():
    free, total = torch.cuda.mem_get_info()
    return total - free


def answer(all_seconds, before):
    seconds = statistics.median(all_seconds[1:])
    print(json.dumps({"seconds": seconds, "all": all_seconds[1:], "peak_mib": (taken() - before) / 2**20}))


def load(path):
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16).to("cuda")
    model.generation_config.eos_token_id = None
    return model


def sample(path, before):
    model = load(path).eval()
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(4, model.config.vocab_size, (PROMPTS, PROMPT), generator=generator)
    ids = ids.repeat_interleave(GROUP, 0).to("cuda")
    config = GenerationConfig(
        do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=NEW, eos_token_id=None, pad_token_id=0,
        use_cache=True,
    )
    seconds = []
    for _ in range(ROUNDS + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.no_grad():
            out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        assert out.shape[1] == PROMPT + NEW
    answer(seconds, before)


def step(path, before):
    import transformers
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    from trl import GRPOConfig, GRPOTrainer

    model = load(path)
    words = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3}
    words |= {f"w{i}": i for i in range(4, model.config.vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.padding_side = "left"
    generator = torch.Generator().manual_seed(1)
    draw = lambda: torch.randint(4, model.config.vocab_size, (PROMPT,), generator=generator)
    prompts = [" ".join(f"w{int(t)}" for t in draw()) for _ in range(PROMPTS * (ROUNDS + 1))]
    seconds = []

    class Clock(transformers.TrainerCallback):
        def on_step_begin(self, *args, **kwargs):
            torch.cuda.synchronize()
            self.start = time.perf_counter()

        def on_step_end(self, *args, **kwargs):
            torch.cuda.synchronize()
            seconds.append(time.perf_counter() - self.start)

    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(), loss_type="grpo", beta=0.0, num_generations=GROUP,
        per_device_train_batch_size=8, gradient_accumulation_steps=4, max_completion_length=NEW, temperature=1.0,
        max_steps=ROUNDS + 1, logging_steps=ROUNDS + 1, save_strategy="no", report_to="none", learning_rate=1e-5,
        bf16=True, gradient_checkpointing=True, disable_tqdm=True,
        generation_kwargs={"eos_token_id": None, "min_new_tokens": NEW},
    )
    reward = lambda completions, **_: [hash(c) % 1000 / 1000 for c in completions]
    GRPOTrainer(
        model=model, reward_funcs=reward, args=config, train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=tokenizer, callbacks=[Clock()],
    ).train()
    answer(seconds, before)


if __name__ == "__main__":
    work, where = sys.argv[1:]
    torch.manual_seed(0)
    torch.cuda.init()
    {"sample": sample, "step": step}[work](where, taken())
