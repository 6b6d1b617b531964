"""Small models of many architectures, with random weights, as they would lie on a hub.

Weights are larger than those of a fresh model, so that every token and every rank matters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, PreTrainedTokenizerFast

from dylora_exp.models.architecture import BYTE_LEVEL_TOKENIZER
from dylora_exp.core import package_folder

WIDTH = 32
TOKENS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "vocab_size": 800}
BERT = {
    "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 200, "initializer_range": 0.15,
}  # fmt: skip
GPT2 = {"n_embd": WIDTH, "n_layer": 2, "n_head": 4, "n_positions": 200, "initializer_range": 0.15}
# Two heads of keys and values for four of queries.
LLAMA = BERT | {"num_key_value_heads": 2, "head_dim": 8}
DEBERTA = BERT | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0}
BART = {
    "d_model": WIDTH, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48,
    "max_position_embeddings": 200, "init_std": 0.15, "decoder_start_token_id": 2,
}  # fmt: skip
T5 = {"d_model": WIDTH, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4,
      "decoder_start_token_id": 1, "initializer_factor": 1.0}  # fmt: skip


@dataclass(frozen=True)
class Architecture:
    """A kind of model: its settings, what is adapted, and what is new in a classifier.

    Attributes:
        settings: Of its config, ``model_type`` among them.
        targets: Names of the layers to adapt.
        head: Names of the modules of a classifier that pretrained weights lack.
        fused: The parts of its fused layers, where parts are targets.
        pretrained: The class of transformers of the weights that are published.
        tokenizer: How texts are encoded: settings of the tokenizer.
    """

    settings: dict[str, Any]
    targets: list[str]
    head: list[str]
    fused: dict[str, list[str]] | None = None
    pretrained: str = "AutoModelForMaskedLM"
    tokenizer: dict[str, Any] = field(default_factory=dict)


def decoder(settings, targets, fused=None):
    return Architecture(settings, targets, ["score"], fused, "AutoModelForCausalLM")


def make_tokenizer(**settings):
    """Return the tokenizer that comes with the project, or the same with other special tokens."""
    folder = package_folder(BYTE_LEVEL_TOKENIZER)
    return PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        **{"bos_token": "<s>", "cls_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>",
           "sep_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"} | settings,
    )  # fmt: skip


def save_base(architecture: Architecture, folder: Path, kind: str | None = None) -> list[str]:
    """Save a base model with its tokenizer, and return the overrides that choose it."""
    settings = dict(architecture.settings)
    config = AutoConfig.for_model(settings.pop("model_type"), **(TOKENS | settings))
    torch.manual_seed(7)
    model = getattr(transformers, kind or architecture.pretrained).from_config(config)
    with torch.no_grad():  # biases that are all zero would hide that they are lost
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(folder)
    make_tokenizer(**architecture.tokenizer).save_pretrained(folder)
    return [
        f"model.name={settings.get('name', config.model_type)}",
        f"model.name_or_path={folder}",
        f"model.targets=[{','.join(architecture.targets)}]",
        f"model.head=[{','.join(architecture.head)}]",
        *(
            f"model.fused={{{layer}: [{', '.join(parts)}]}}"
            for layer, parts in (architecture.fused or {}).items()
        ),
    ]


QKV = ["q", "k", "v"]
ARCHITECTURES = {
    "bert": Architecture({"model_type": "bert"} | BERT, ["query", "value"], ["pooler", "classifier"]),
    "roberta": Architecture({"model_type": "roberta"} | BERT, ["query", "value"], ["classifier"]),
    "xlm-roberta": Architecture({"model_type": "xlm-roberta"} | BERT, ["key", "output.dense"], ["classifier"]),
    "camembert": Architecture({"model_type": "camembert"} | BERT, ["query", "dense"], ["classifier"]),
    "distilbert": Architecture(
        {"model_type": "distilbert", "dim": WIDTH, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 200, "initializer_range": 0.15},
        ["q_lin", "v_lin"], ["pre_classifier", "classifier"]),
    "electra": Architecture({"model_type": "electra", "embedding_size": 24} | BERT, ["query", "value"], ["classifier"]),
    "deberta-v2": Architecture({"model_type": "deberta-v2", "position_buckets": 8} | DEBERTA, ["query_proj", "value_proj"], ["pooler", "classifier"]),
    "deberta-v2-shared": Architecture({"model_type": "deberta-v2", "position_buckets": 8, "share_att_key": True, "norm_rel_ebd": "layer_norm"} | DEBERTA, ["query_proj", "key_proj", "value_proj"], ["pooler", "classifier"]),
    "deberta": Architecture({"model_type": "deberta"} | DEBERTA, ["in_proj"], ["pooler", "classifier"]),
    "mpnet": Architecture({"model_type": "mpnet"} | BERT, ["attn.q", "attn.v"], ["classifier"]),
    "albert": Architecture({"model_type": "albert", "embedding_size": 16} | BERT, ["query", "value"], ["pooler", "classifier"]),
    "modernbert": Architecture({"model_type": "modernbert", "cls_token_id": 0, "sep_token_id": 2, "local_attention": 8} | BERT, ["Wqkv.q", "Wqkv.v"], ["head", "classifier"], {"Wqkv": QKV}),
    "roformer": Architecture({"model_type": "roformer"} | BERT, ["query", "value"], ["classifier"]),
    "fnet": Architecture({"model_type": "fnet"} | BERT, ["intermediate.dense"], ["pooler", "classifier"]),
    "nystromformer": Architecture({"model_type": "nystromformer", "num_landmarks": 4, "segment_means_seq_len": 4} | BERT, ["query"], ["classifier"]),
    "longformer": Architecture({"model_type": "longformer", "attention_window": 4} | BERT, ["query", "value"], ["classifier"]),
    "bigbird": Architecture({"model_type": "big_bird", "attention_type": "original_full"} | BERT, ["query", "value"], ["classifier"]),
    "bigbird-sparse": Architecture({"model_type": "big_bird", "block_size": 4, "num_random_blocks": 1} | BERT, ["query", "value"], ["classifier"]),
    "funnel": Architecture({"model_type": "funnel", "d_model": WIDTH, "n_head": 4, "d_head": 8, "d_inner": 48, "block_sizes": [1, 1]}, ["q_head", "v_head"], ["classifier"]),
    "xlnet": Architecture({"model_type": "xlnet", "d_model": WIDTH, "n_layer": 2, "n_head": 4, "d_inner": 48, "initializer_range": 0.15}, ["layer_1"], ["sequence_summary", "logits_proj"], pretrained="AutoModelForCausalLM", tokenizer={"padding_side": "left"}),
    "xlm": Architecture({"model_type": "xlm", "emb_dim": WIDTH, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 200, "init_std": .15, "embed_init_std": .15, "n_words": 800}, ["q_lin", "v_lin"], ["sequence_summary"]),
    "flaubert": Architecture({"model_type": "flaubert", "emb_dim": WIDTH, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 200, "n_words": 800}, ["q_lin", "v_lin"], ["sequence_summary"]),
    "squeezebert": Architecture({"model_type": "squeezebert", "embedding_size": WIDTH} | BERT, ["query"], ["pooler","classifier"]),
    "mobilebert": Architecture({"model_type": "mobilebert", "embedding_size": 16, "intra_bottleneck_size": 16} | BERT, ["query"], ["pooler","classifier"]),
    "convbert": Architecture({"model_type": "convbert", "embedding_size": WIDTH} | BERT, ["query", "value"], ["classifier"]),
    "ibert": Architecture({"model_type": "ibert"} | BERT, ["query", "value"], ["classifier"]),
    "rembert": Architecture({"model_type": "rembert", "input_embedding_size": 16, "output_embedding_size": 16} | BERT, ["query", "value"], ["pooler", "classifier"]),
    "canine": Architecture({"model_type": "canine"} | BERT, ["query", "value"], ["pooler", "classifier"], pretrained="AutoModel"),
    "esm": Architecture({"model_type": "esm", "position_embedding_type": "rotary", "mask_token_id": 4, "token_dropout": True} | BERT, ["query", "value"], ["classifier"]),
    "perceiver": Architecture({"model_type": "perceiver", "num_latents": 8, "d_latents": 32, "d_model": 32, "num_self_attention_heads":4, "num_cross_attention_heads":4, "max_position_embeddings": 200, "num_self_attends_per_block": 1}, ["query"], ["classifier"]),
    "data2vec-text": Architecture({"model_type": "data2vec-text"} | BERT, ["query", "value"], ["classifier"]),
    "roberta-prelayernorm": Architecture({"model_type": "roberta-prelayernorm"} | BERT, ["query", "value"], ["classifier"]),
    "xmod": Architecture({"model_type": "xmod", "languages": ["en_XX"], "default_language": "en_XX"} | BERT, ["query", "value"], ["classifier"]),
    "megatron-bert": Architecture({"model_type": "megatron-bert"} | BERT, ["query", "value"], ["pooler", "classifier"]),
    "reformer": Architecture({"model_type": "reformer"}, ["query"], ["classifier"]),
    "layoutlm": Architecture({"model_type": "layoutlm"} | BERT, ["query", "value"], ["pooler", "classifier"]),
    "yoso": Architecture({"model_type": "yoso"} | BERT, ["query", "value"], ["classifier"]),
    "luke": Architecture({"model_type": "luke", "entity_vocab_size": 10} | BERT, ["query", "value"], ["classifier"]),
    "mra": Architecture({"model_type": "mra"} | BERT, ["query", "value"], ["classifier"]),
    "ernie": Architecture({"model_type": "ernie"} | BERT, ["query", "value"], ["pooler", "classifier"]),
    "bart": Architecture({"model_type": "bart"} | BART, ["q_proj", "v_proj"], ["classification_head"], pretrained="AutoModelForSeq2SeqLM"),
    "mbart": Architecture({"model_type": "mbart"} | BART, ["q_proj", "v_proj"], ["classification_head"], pretrained="AutoModelForSeq2SeqLM"),
    "led": Architecture({"model_type": "led", "attention_window": 4, "max_encoder_position_embeddings": 200, "max_decoder_position_embeddings": 200} | BART, ["q_proj", "query"], ["classification_head"], pretrained="AutoModelForSeq2SeqLM"),
    "plbart": Architecture({"model_type": "plbart"} | BART, ["q_proj", "v_proj"], ["classification_head"], pretrained="AutoModelForSeq2SeqLM"),
    "t5": Architecture({"model_type": "t5"} | T5, ["q", "v"], ["classification_head"], pretrained="AutoModelForSeq2SeqLM"),
    "mt5": Architecture({"model_type": "mt5"} | T5, ["q", "v"], ["classification_head"], pretrained="AutoModelForSeq2SeqLM"),
    "umt5": Architecture({"model_type": "umt5"} | T5, ["q", "v"], ["classification_head"], pretrained="AutoModelForSeq2SeqLM"),
    # Decoders
    "gpt2": decoder({"model_type": "gpt2"} | GPT2, ["c_attn.q", "c_attn.v"], {"c_attn": QKV}),
    "openai-gpt": decoder({"model_type": "openai-gpt"} | GPT2, ["c_attn.q", "c_attn.v"], {"c_attn": QKV}),
    "gptj": decoder({"model_type": "gptj", "rotary_dim": 4} | GPT2, ["q_proj", "v_proj"]),
    "gpt_neo": decoder({"model_type": "gpt_neo", "attention_types": [[["global", "local"], 1]], "window_size": 4, "num_layers": 2, "num_heads": 4} | BERT, ["q_proj", "v_proj"]),
    "gpt_neox": decoder({"model_type": "gpt_neox"} | BERT, ["query_key_value"]),
    "gpt_bigcode": decoder({"model_type": "gpt_bigcode"} | GPT2, ["c_attn"]),
    "codegen": decoder({"model_type": "codegen", "rotary_dim": 4} | GPT2, ["qkv_proj"]),
    "ctrl": decoder({"model_type": "ctrl", "dff": 48} | GPT2, ["Wq", "Wv"]),
    "opt": decoder({"model_type": "opt", "ffn_dim": 48, "word_embed_proj_dim": 16, "init_std": 0.15} | BERT, ["q_proj", "v_proj"]),
    "llama": decoder({"model_type": "llama"} | LLAMA, ["q_proj", "v_proj"]),
    "mistral": decoder({"model_type": "mistral", "sliding_window": 4} | LLAMA, ["q_proj", "v_proj"]),
    "mixtral": decoder({"model_type": "mixtral", "num_local_experts": 2, "num_experts_per_tok": 1} | LLAMA, ["q_proj", "v_proj"]),
    "qwen2": decoder({"model_type": "qwen2"} | LLAMA, ["k_proj", "v_proj"]),
    "qwen3": decoder({"model_type": "qwen3"} | LLAMA, ["k_proj", "v_proj"]),
    "qwen2_moe": decoder({"model_type": "qwen2_moe", "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16} | LLAMA, ["q_proj", "v_proj"]),
    "gemma": decoder({"model_type": "gemma"} | LLAMA, ["q_proj", "v_proj"]),
    "gemma2": decoder({"model_type": "gemma2", "sliding_window": 4} | LLAMA, ["q_proj", "v_proj"]),
    "gemma3_text": decoder({"model_type": "gemma3_text", "sliding_window": 4} | LLAMA, ["q_proj", "v_proj"]),
    "phi": decoder({"model_type": "phi"} | BERT, ["q_proj", "v_proj"]),
    "phi3": decoder({"model_type": "phi3", "num_key_value_heads": 4} | BERT, ["qkv_proj.q", "qkv_proj.v"], {"qkv_proj": QKV}),
    "phi3-grouped": decoder({"model_type": "phi3", "num_key_value_heads": 2} | BERT, ["qkv_proj", "o_proj"]),
    "bloom": decoder({"model_type": "bloom", "hidden_size": WIDTH, "n_layer": 2, "n_head": 4, "initializer_range": 0.15}, ["query_key_value"]),
    "falcon": decoder({"model_type": "falcon", "new_decoder_architecture": True, "num_kv_heads": 2} | BERT, ["query_key_value"]),
    "falcon-alibi": decoder({"model_type": "falcon", "multi_query": False, "alibi": True} | BERT, ["query_key_value"]),
    "mpt": decoder({"model_type": "mpt", "d_model": WIDTH, "n_layers": 2, "n_heads": 4, "max_seq_len": 200, "initializer_range": .15}, ["Wqkv.q", "Wqkv.v"], {"Wqkv": QKV}),
    "stablelm": decoder({"model_type": "stablelm"} | LLAMA, ["q_proj", "v_proj"]),
    "starcoder2": decoder({"model_type": "starcoder2"} | LLAMA, ["q_proj", "v_proj"]),
    "persimmon": decoder({"model_type": "persimmon"} | BERT, ["query_key_value"]),
    "glm": decoder({"model_type": "glm"} | LLAMA, ["q_proj", "gate_up_proj.up"], {"gate_up_proj": ["gate", "up"]}),
    "olmo2": decoder({"model_type": "olmo2"} | LLAMA, ["q_proj", "v_proj"]),
    "cohere": decoder({"model_type": "cohere"} | LLAMA, ["q_proj", "v_proj"]),
    "smollm3": decoder({"model_type": "smollm3"} | LLAMA, ["q_proj", "v_proj"]),
    "biogpt": decoder({"model_type": "biogpt"} | BERT, ["q_proj", "v_proj"]),
    "xglm": decoder({"model_type": "xglm", "d_model": WIDTH, "num_layers": 2, "attention_heads": 4, "ffn_dim": 48, "init_std": .15, "max_position_embeddings": 200}, ["q_proj", "v_proj"]),
    "mamba": decoder({"model_type": "mamba", "state_size": 4} | BERT, ["in_proj"]),
    "rwkv": decoder({"model_type": "rwkv", "attention_hidden_size": WIDTH} | BERT, ["key"]),
    "recurrent_gemma": decoder({"model_type": "recurrent_gemma"} | LLAMA, ["q_proj"]),
}
