"""A process that knows transformers and PEFT alone: it loads exports and computes with them.

``python stock_peft.py`` answers each line of its input, a job in JSON, by a line of JSON.
"""

import json
import sys
import traceback
from pathlib import Path

import torch
import transformers
from peft import PeftModel
from transformers import AttentionInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

SEEN = []


def recording(module, query, key, value, attention_mask, **options):
    """Attend as the model itself would, and note queries, keys and values."""
    SEEN.append((query, key, value))
    return ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, value, attention_mask, **options)


AttentionInterface.register("recording", recording)


def record_splits(model):
    """Note what attention makes of a fused layer, in models that attend in code of their own."""
    for module in model.modules():
        for name in ("_split_heads", "_reshape"):
            split = getattr(type(module), name, None)
            if split is not None:

                def noting(*arguments, split=split, module=module):
                    SEEN.append(split(module, *arguments))
                    return SEEN[-1]

                setattr(module, name, noting)


def load(job, folder, **options):
    """Load a merged model, or an adapter on its base as its README says."""
    is_adapter = (Path(folder) / "adapter_config.json").exists()
    kind = getattr(transformers, job["kind"])
    if not is_adapter:
        return kind.from_pretrained(folder, **options).eval()
    labels = {"num_labels": job["labels"]} if job["labels"] else {}
    base = kind.from_pretrained(job["base"], dtype=torch.float32, **labels, **options)
    return PeftModel.from_pretrained(base, folder).eval()


@torch.no_grad()
def outputs(job, folder):
    """Return the logits of each text alone (of the class, or of the last token), and texts."""
    model = load(job, folder)
    logits, texts = [], []
    for ids in job["inputs"]:
        found = model(input_ids=torch.tensor([ids])).logits[0]
        logits.append((found if found.dim() == 1 else found[-1]).tolist())
        if job["generate"]:
            inputs = torch.tensor([ids])
            mask = torch.ones_like(inputs)
            text = model.generate(input_ids=inputs, attention_mask=mask, **job["generate"])
            texts.append(text[0, len(ids) :].tolist())
    return {"logits": logits, "texts": texts, "labels": list(model.config.id2label.values())}


@torch.no_grad()
def changed_parts(job, folder):
    """Return whether queries, keys and values of the first layer differ from the base's."""
    own = job["parts"] == "own attention"
    model = load(job, folder, attn_implementation="eager" if own else "recording")
    if own:
        record_splits(model)
    inputs = torch.tensor([job["inputs"][0]])
    SEEN.clear()
    model(input_ids=inputs)
    first = SEEN[0]
    SEEN.clear()
    with model.disable_adapter():
        model(input_ids=inputs)
    pairs = zip(first, SEEN[0], strict=True)
    return [bool((one - other).abs().max() > 1e-6) for one, other in pairs]


def answer(job):
    """Return the outputs of each folder and, of an adapter of parts, which parts it changes."""
    parts = changed_parts(job, job["folders"][0]) if job["parts"] else None
    found = [outputs(job, folder) for folder in job["folders"]]
    assert "dylora_exp" not in sys.modules
    return {"outputs": found, "parts": parts}


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    replies, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line))
        except Exception:
            reply = {"error": traceback.format_exc()}
        print(json.dumps(reply), file=replies, flush=True)
