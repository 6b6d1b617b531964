"""Bases packed by bitsandbytes as a script without this project loads them, and what they give.

As a script, ``python packed_bases.py`` reads a job in JSON and writes logits in JSON.
"""

import json
import sys

import torch
import transformers
from peft import PeftModel
from transformers import BitsAndBytesConfig

# Widths of which bitsandbytes unpacks four bits right on a CPU: multiples of 64.
PACKABLE = {"hidden_size": 64, "intermediate_size": 128}
OPTIONS = {
    "int8": {"load_in_8bit": True},
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
}


def load_stock(folder, quantization, kind="AutoModelForCausalLM", dtype=torch.float32, **options):
    """Load a base, packed or whole, by transformers alone."""
    if quantization != "none":
        packing = dict(OPTIONS[quantization])
        if quantization == "nf4":
            packing["bnb_4bit_compute_dtype"] = dtype
        options["quantization_config"] = BitsAndBytesConfig(**packing)
    return getattr(transformers, kind).from_pretrained(folder, dtype=dtype, **options)


def stock_logits(model, inputs):
    """Return logits as training computes them, without dropout.

    In evaluation mode bitsandbytes would round inputs or compute in bfloat16 on a CPU.
    """
    model.train()
    with torch.no_grad():
        return model(input_ids=torch.tensor(inputs)).logits


def answer(job):
    base = load_stock(job["base"], job["quantization"])
    model = PeftModel.from_pretrained(base, job["adapter"]) if job["adapter"] else base
    assert "dylora_exp" not in sys.modules
    return stock_logits(model, job["inputs"]).tolist()


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    print(json.dumps([answer(job) for job in json.load(sys.stdin)]))
