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

seen = []


def recording(module, query, key, value, attention_mask, **options):
    """Attend as the model itself would, and note queries, keys and values."""
    seen.append((query, key, value))
    return ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, value, attention_mask, **options)


AttentionInterface.register("recording", recording)


def load(job, folder, **options):
    """Load a merged model, or an adapter on its base."""
    kind = getattr(transformers, job["kind"])
    adapter = Path(folder) / "adapter_config.json"
    stock = {"num_labels": job["labels"]} if adapter.exists() and job["labels"] else {}
    model = kind.from_pretrained(job["base"] if adapter.exists() else folder, **stock, **options)
    if adapter.exists():
        model = PeftModel.from_pretrained(model, folder)
    return model.eval()


@torch.no_grad()
def outputs(job, folder):
    """Return the logits of each text alone: of the class, or of the last token."""
    model = load(job, folder)
    found = []
    for ids in job["texts"]:
        logits = model(input_ids=torch.tensor([ids])).logits[0]
        found.append((logits if logits.dim() == 1 else logits[-1]).tolist())
    generated = []
    for ids in job.get("prompts", []):
        text = model.generate(
            input_ids=torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            **job["generate"],
        )
        generated.append(text[0, len(ids) :].tolist())
    config = model.config
    return {"logits": found, "texts": generated, "labels": len(config.id2label),
            "names": list(config.id2label.values())}  # fmt: skip


@torch.no_grad()
def changed_parts(job, folder):
    """Return whether queries, keys and values of the first layer differ from the base's."""
    adapted = load(job, folder, attn_implementation="recording")
    ids = torch.tensor([job["texts"][0]])
    seen.clear()
    adapted(input_ids=ids)
    ours = seen[0]
    seen.clear()
    with adapted.disable_adapter():
        adapted(input_ids=ids)
    return [bool((a - b).abs().max() > 1e-6) for a, b in zip(ours, seen[0], strict=True)]


def answer(job):
    found = {"outputs": [outputs(job, folder) for folder in job["folders"]]}
    if job.get("parts"):
        found["parts"] = changed_parts(job, job["folders"][0])
    assert "dylora_exp" not in sys.modules
    return found


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    out, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        try:
            found = answer(json.loads(line))
        except Exception:
            found = {"error": traceback.format_exc()}
        print(json.dumps(found), file=out, flush=True)
