"""Generation by transformers: `python generate.py JSON` with { model, prompt, tokens, weights, threads }. Prints one line of JSON."""
import json
import os
import sys
import time
import warnings

os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_PROGRESS_BARS="1", TRANSFORMERS_VERBOSITY="error")
warnings.filterwarnings("ignore")

import torch
from transformers import AutoModelForCausalLM

S = json.loads(sys.argv[1])
torch.set_num_threads(S["threads"])
model = AutoModelForCausalLM.from_pretrained(S["model"], dtype={"bf16": torch.bfloat16, "f32": torch.float32}[S["weights"]]).eval()
ids = torch.tensor([[(i * 37 + 5) % model.config.vocab_size for i in range(S["prompt"])]])


def milliseconds(tokens):
    began = time.perf_counter()
    with torch.inference_mode():
        model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0
        )
    return 1000 * (time.perf_counter() - began)


milliseconds(8)
first = min(milliseconds(1), milliseconds(1))
whole = min(milliseconds(S["tokens"]), milliseconds(S["tokens"]))
with open("/proc/self/status") as file:
    peak = int(dict(line.split(":", 1) for line in file)["VmHWM"].split()[0]) / 1024
print(
    json.dumps(
        {
            "promptMilliseconds": first,
            "tokensPerSecond": 1000 * (S["tokens"] - 1) / (whole - first),
            "bytesPerToken": sum(p.numel() * p.element_size() for p in model.parameters()),
            "peak": peak,
            "cpu": sum(os.times()[:4]),
        }
    )
)
