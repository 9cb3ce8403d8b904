"""
The same job with PyTorch + transformers + PEFT: `python user-job.py JSON` with
{ model, rows, heldOut, setting, threads, steps, batch, length, rank, out }. setting: bf16-autocast, bf16-eager or bf16-compile.
"""
import contextlib
import json
import os
import random
import sys
import time
import warnings

os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_PROGRESS_BARS="1", TRANSFORMERS_VERBOSITY="error")
warnings.filterwarnings("ignore")

import peft
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

S = json.loads(sys.argv[1])
torch.set_num_threads(S["threads"])
torch.manual_seed(0)
autocast = S["setting"] != "bf16-eager"

tokenizer = AutoTokenizer.from_pretrained(S["model"])
base = AutoModelForCausalLM.from_pretrained(S["model"], dtype=torch.bfloat16)
base.config.use_cache = False
config = peft.LoraConfig(
    r=S["rank"], lora_alpha=2 * S["rank"], lora_dropout=0.0, bias="none", task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj"]
)
model = peft.get_peft_model(base, config, autocast_adapter_dtype=autocast)

INTRODUCTION = "Below is an instruction that describes a task"
REQUEST = "Write a response that appropriately completes the request.\n\n### Instruction:\n"


def example(row):
    """Prompt and response, the loss on the response and the token that ends it."""
    if row.get("input"):
        prompt = f"{INTRODUCTION}, paired with an input that provides further context. {REQUEST}{row['instruction']}\n\n### Input:\n{row['input']}\n\n### Response:"
    else:
        prompt = f"{INTRODUCTION}. {REQUEST}{row['instruction']}\n\n### Response:"
    before = tokenizer(prompt, add_special_tokens=True)["input_ids"]
    after = tokenizer(row["output"], add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    return before + after, [-100] * len(before) + after


def read(path):
    with open(path, encoding="utf8") as file:
        return [example(json.loads(line)) for line in file if line.strip()]


def collate(examples):
    length = max(len(ids) for ids, _ in examples)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    return {
        "input_ids": torch.tensor([ids + [pad] * (length - len(ids)) for ids, _ in examples]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (length - len(ids)) for ids, _ in examples]),
        "labels": torch.tensor([labels + [-100] * (length - len(labels)) for _, labels in examples]),
    }


def amp():
    return torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext()


train = read(S["rows"])
random.Random(0).shuffle(train)
parameters = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(parameters, lr=5e-4, weight_decay=0.0, fused=True)
schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / S["steps"])
# Rows differ in length: without dynamic shapes every new length would be compiled again.
forward = torch.compile(model, dynamic=True) if S["setting"] == "bf16-compile" else model
model.train()
tokens, first_step = 0, None
for step in range(S["steps"]):
    examples = [train[(step * S["batch"] + i) % len(train)] for i in range(S["batch"])]
    tokens += sum(len(ids) for ids, _ in examples)
    with amp():
        loss = forward(**collate(examples)).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    schedule.step()
    optimizer.zero_grad(set_to_none=True)
    first_step = first_step or 1000 * time.time()
model.save_pretrained(S["out"])
saved = 1000 * time.time()
with open("/proc/self/status") as file:
    peak = int(next(line for line in file if line.startswith("VmHWM")).split()[1]) / 1024

model.eval()
held, total, count = read(S["heldOut"]), 0.0, 0
with torch.no_grad(), amp():
    for i in range(0, len(held), S["batch"]):
        batch = collate(held[i : i + S["batch"]])
        learned = int((batch["labels"][:, 1:] != -100).sum())
        total += model(**batch).loss.item() * learned
        count += learned
cpu = sum(os.times()[:4])
print(json.dumps({"saved": saved, "firstStep": first_step, "tokens": tokens, "peak": peak, "heldOutLoss": total / count, "cpu": cpu}))
