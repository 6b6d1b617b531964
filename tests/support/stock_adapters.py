"""Adapters as people have them: a stock PEFT script on a small base, and the bases."""

from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
)

import dylora_exp
from tests.support.small_gpt2 import save_small_gpt2, small_tokenizer

TINY_ROBERTA = Path(dylora_exp.__file__).parent / "models" / "tiny-roberta"
IDS = torch.tensor([[0, 40, 50, 60, 70, 2], [0, 30, 31, 32, 33, 2]])


def save_tiny_llama(folder):
    """Write a Llama of two layers with random weights and a tokenizer."""
    tokenizer = small_tokenizer()
    end = tokenizer.eos_token_id
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
        bos_token_id=end, eos_token_id=end, pad_token_id=end, initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_base(kind, folder):
    """Return the folder of a base by its kind."""
    if kind == "roberta":
        return TINY_ROBERTA
    (save_tiny_llama if kind == "llama" else save_small_gpt2)(folder / kind)
    return folder / kind


def load_stock(base, task_type):
    """Return a base as a stock script loads it."""
    torch.manual_seed(1)  # of a new head
    if task_type == "CAUSAL_LM":
        return AutoModelForCausalLM.from_pretrained(base)
    return AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)


def train_stock(base, folder, task_type="SEQ_CLS", dtype=None, steps=3, **settings):
    """Train a LoRA as a script that knows nothing of this project does, and save it."""
    model = load_stock(base, task_type)
    model = get_peft_model(model, LoraConfig(task_type=task_type, **settings))
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=2e-2)
    labels = IDS if task_type == "CAUSAL_LM" else torch.tensor([0, 1])
    model.train()
    for _ in range(steps):
        model(input_ids=IDS, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    if dtype is not None:
        model.to(dtype)
    model.save_pretrained(folder)
    return folder


def stock_logits(base, adapter, task_type):
    """Return the logits of stock PEFT with a saved adapter."""
    model = PeftModel.from_pretrained(load_stock(base, task_type), str(adapter)).eval()
    with torch.no_grad():
        return model(input_ids=IDS).logits
