"""How fast PyTorch multiplies: `python product-peak.py JSON` with { sizes, seconds, threads }. Prints the best GFLOPS by setting and size."""
import json
import sys
import time

import torch

settings = json.loads(sys.argv[1])
torch.set_num_threads(settings["threads"])


def best(size, dtype):
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    torch.mm(a, b)
    shortest, end = float("inf"), time.perf_counter() + settings["seconds"]
    while time.perf_counter() < end:
        start = time.perf_counter()
        torch.mm(a, b)
        shortest = min(shortest, time.perf_counter() - start)
    return 2 * size**3 / shortest / 1e9


def sizes(dtype):
    return {size: best(size, dtype) for size in settings["sizes"]}


peaks = {"f32 (MKL)": sizes(torch.float32), "bf16": sizes(torch.bfloat16)}
torch.set_float32_matmul_precision("medium")
peaks["f32 (oneDNN)"] = sizes(torch.float32)
print(json.dumps({"peaks": peaks, "cpu": time.process_time()}))
