"""Loads an adapter with PEFT and prints what it computes: judge.py BASE ADAPTER IDS [SAVE_TO]"""

import json
import sys
import warnings

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
from transformers.utils import logging

base_folder, adapter_folder, ids = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
logging.set_verbosity_error()
torch.set_num_threads(1)

base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32, attn_implementation="eager")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model = PeftModel.from_pretrained(base, adapter_folder).eval()
with torch.no_grad():
    logits = model(input_ids=torch.tensor(ids)).logits
adapted = sorted(name for name, module in model.base_model.model.named_modules() if hasattr(module, "lora_A"))
if len(sys.argv) > 4:
    model.save_pretrained(sys.argv[4])
with torch.no_grad():
    merged = model.merge_and_unload()(input_ids=torch.tensor(ids)).logits

json.dump(
    {
        "logits": logits.tolist(),
        "merged": merged.tolist(),
        "adapted": adapted,
        "missing": [str(w.message) for w in caught if "missing adapter keys" in str(w.message)],
    },
    sys.stdout,
)
