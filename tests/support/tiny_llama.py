"""A tiny Llama with random weights, and stock PEFT LoRA adapters on it."""

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from tests.support.small_gpt2 import small_tokenizer

R = 6


def tiny_llama(vocabulary: int = 60, **settings) -> LlamaForCausalLM:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256}
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = LlamaConfig(vocab_size=vocabulary, **{**shape, **heads, **special, **settings})
    return LlamaForCausalLM(config)


def save_tiny_llama(folder, **settings) -> None:
    """Write the model and a tokenizer of its own, whose end token is 0."""
    tokenizer = small_tokenizer()
    tiny_llama(len(tokenizer), initializer_range=0.2, **settings).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def stock_lora(base=None, adapter: str = "default", trained: bool = True, **settings) -> PeftModel:
    """Return a PeftModel as PEFT makes it; trained means that B is not zero."""
    given = {"r": R, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"], **settings}
    base = tiny_llama() if base is None else base
    torch.manual_seed(1)
    lora = LoraConfig(task_type="CAUSAL_LM", **given)
    model = get_peft_model(base, lora, adapter_name=adapter)
    for name, parameter in model.named_parameters():
        if trained and "lora_B" in name:
            nn.init.normal_(parameter, std=0.2)
    return model
