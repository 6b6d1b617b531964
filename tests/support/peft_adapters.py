"""Small adapters that PEFT itself saves."""

import json
import warnings

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.pytorch_utils import Conv1D


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.v = nn.Linear(12, 16), nn.Linear(12, 8)
        self.conv = Conv1D(20, 12)  # 12 inputs, 20 outputs

    def forward(self, x):
        return self.q(x), self.v(x), self.conv(x)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 12)
        self.picture = nn.Conv2d(3, 4, 2)
        self.layers = nn.ModuleList(Block() for _ in range(11))
        self.classifier = nn.Linear(12, 3)

    def forward(self, ids):
        x = self.embed(ids)
        return [layer(x) for layer in self.layers], self.classifier(x)


def save(folder, **settings):
    """Save a random LoRA by PEFT, and return its model."""
    torch.manual_seed(0)
    settings = {"r": 4, "target_modules": ["q", "v"], "init_lora_weights": False, **settings}
    with warnings.catch_warnings(action="ignore"):
        model = get_peft_model(Small(), LoraConfig(**settings))
    model.save_pretrained(str(folder))
    return model


def change(folder, **settings):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def change_tensors(folder, edit):
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file)


def rename_layers(folder, old, new):
    """Rename an adapter's layers, as if its base had other names."""

    def edit(tensors):
        for key in list(tensors):
            tensors[key.replace(old, new)] = tensors.pop(key)

    change_tensors(folder, edit)
