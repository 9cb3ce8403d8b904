"""
One case of PyTorch + transformers + PEFT, in a process of its own: `python pytorch.py JSON`. Prints one line of JSON, times in ms.
The JSON: { folder, tokens, method, setting, batch, length, threads, warmup, least, seconds, interval, rank, lisa_active, ist_share }.

setting: f32-mkl       f32, products by MKL: what PyTorch does unasked
         f32-onednn    f32 with torch.set_float32_matmul_precision("medium"), which sends products to oneDNN
         bf16-autocast under torch.autocast; frozen weights bf16, trained ones f32
         bf16-eager    everything bf16, trained weights and optimizer state included
         bf16-compile  as bf16-autocast, through torch.compile
"""
import contextlib
import json
import math
import os
import random
import sys
import time
import warnings

os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_PROGRESS_BARS="1", TRANSFORMERS_VERBOSITY="error")
warnings.filterwarnings("ignore")

import torch

S = json.loads(sys.argv[1])
torch.set_num_threads(S["threads"])
if S["setting"] == "f32-onednn":
    torch.set_float32_matmul_precision("medium")
torch.manual_seed(0)
random.seed(0)

import peft
from transformers import AutoModelForCausalLM

method, setting = S["method"], S["setting"]
trains_weights = method in ("full", "lisa")
autocast = setting in ("bf16-autocast", "bf16-compile")
# What autocast trains stays f32: for LoRA the adapters (PEFT's default), else the weights.
dtype = torch.float32 if setting.startswith("f32") or (autocast and trains_weights) else torch.bfloat16


def memory():
    with open("/proc/self/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return {name: int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM")}


started = time.perf_counter()
model = AutoModelForCausalLM.from_pretrained(S["folder"], dtype=dtype)
load = 1000 * (time.perf_counter() - started)
after_load = memory()["VmRSS"]
model.config.use_cache = False
blocks = model.model.layers
if not trains_weights:
    targets = ["q_proj", "v_proj"] if method == "lora-qv" else "all-linear"
    config = peft.LoraConfig(
        r=S["rank"], lora_alpha=2 * S["rank"], lora_dropout=0.0, bias="none", task_type="CAUSAL_LM", target_modules=targets
    )
    model = peft.get_peft_model(model, config, autocast_adapter_dtype=autocast)
model.train()


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.01, fused=True)


by_block = [[p for p in block.parameters() if p.requires_grad] for block in blocks]
outside = [p for p in model.parameters() if p.requires_grad]
inside = {id(p) for parameters in by_block for p in parameters}
outside = [p for p in outside if id(p) not in inside]
optimizers = [adamw([p for p in model.parameters() if p.requires_grad])] if method != "lisa" else []


def train_only(chosen):
    for index, parameters in enumerate(by_block):
        for p in parameters:
            p.requires_grad_(index in chosen)
            if index not in chosen:
                p.grad = None


def lisa_switch():
    """gamma random blocks beside embedding and head. The state of blocks starts anew; that of embedding and head is kept."""
    chosen = set(random.sample(range(len(blocks)), S["lisa_active"]))
    train_only(chosen)
    always = optimizers[0] if optimizers else adamw(outside)
    optimizers[:] = [always, adamw([p for index in sorted(chosen) for p in by_block[index]])]


importance = [0.0] * len(blocks)
adapters = [[m for m in block.modules() if isinstance(getattr(m, "scaling", None), dict)] for block in blocks]


def scale(chosen, factor):
    for index in chosen:
        for module in adapters[index]:
            module.scaling["default"] *= factor


def ist_round(ids):
    """Three candidates, each half of the blocks at a quarter of their response: one pass without gradient each."""
    rounds = []
    for _ in range(3):
        suppressed = random.sample(range(len(blocks)), len(blocks) // 2)
        scale(suppressed, 0.25)
        with torch.no_grad(), amp():
            rounds.append((suppressed, forward(input_ids=ids, labels=ids).loss.item()))
        scale(suppressed, 4)
    mean = sum(math.exp(-loss) for _, loss in rounds) / len(rounds)
    for suppressed, loss in rounds:
        for index in suppressed:
            p = 1 / (1 + math.exp(importance[index]))
            importance[index] -= 10 * (math.exp(-loss) - mean) * p * (1 - p)


def ist_switch():
    """A quarter of the blocks, without replacement, by the sigmoid of their importance."""
    keys = [random.random() ** (1 + math.exp(-value)) for value in importance]
    active = max(1, int(S["ist_share"] * len(blocks)))
    train_only(set(sorted(range(len(blocks)), key=lambda index: -keys[index])[:active]))


def amp():
    return torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext()


forward = torch.compile(model) if setting == "bf16-compile" else model
ids = torch.frombuffer(bytearray(open(S["tokens"], "rb").read()), dtype=torch.int32).long()
batches = ids[: len(ids) // (S["batch"] * S["length"]) * S["batch"] * S["length"]].view(-1, S["batch"], S["length"])


def step(index):
    began = time.perf_counter()
    batch = batches[index % len(batches)]
    probe = 0.0
    if method == "lisa" and index % S["interval"] == 0:
        lisa_switch()
    if method == "ist":
        if index > 0 and index % S["interval"] == 0:
            ist_round(batch)
            probe = time.perf_counter() - began
        ist_switch()
    with amp():
        loss = forward(input_ids=batch, labels=batch).loss
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss.item(), 1000 * (time.perf_counter() - began - probe), 1000 * probe


first_loss, _, _ = step(0)
first_step = 1000 * time.time()
for index in range(1, S["warmup"]):
    step(index)
steps, probes, index, measuring = [], [], S["warmup"], time.perf_counter()
while (
    len(steps) < S["least"]
    or (method == "ist" and not probes)
    or time.perf_counter() - measuring < S["seconds"]
):
    _, took, probe = step(index)
    steps.append(took)
    if probe:
        probes.append(probe)
    index += 1
print(
    json.dumps(
        {
            "steps": steps,
            "probes": probes,
            "loss": first_loss,
            "load": load,
            "firstStep": first_step,
            "afterLoad": after_load,
            "peak": memory()["VmHWM"],
            "cpu": sum(os.times()[:4]),
        }
    )
)
