"""Small models of many architectures with random weights, saved as they would lie on a hub."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, PreTrainedTokenizerFast

from dylora_exp.core import package_folder

TOKENIZER = "package://dylora_exp/models/tiny-roberta"
SPECIAL = {"bos_token": "<s>", "cls_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>",
           "sep_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}  # fmt: skip
TOKENS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "vocab_size": 800}
QKV = ["q", "k", "v"]


@dataclass(frozen=True)
class Architecture:
    """A kind of model: its settings, what is adapted, and what is new in a classifier.

    Attributes:
        settings: Of its config, ``model_type`` among them.
        targets: Names of the layers to adapt.
        head: Names of the modules of a classifier that published weights lack.
        published: The class of transformers whose weights are published.
        fused: The parts of its fused layers, where parts are targets.
        tokenizer: Settings of the tokenizer.
    """

    settings: dict[str, Any]
    targets: list[str]
    head: list[str]
    published: str
    fused: dict[str, list[str]] = field(default_factory=dict)
    tokenizer: dict[str, Any] = field(default_factory=dict)


def save_base(architecture: Architecture, folder: Path) -> list[str]:
    """Save a model and its tokenizer in a folder, and return the overrides that choose them."""
    settings = dict(architecture.settings)
    model_type = settings.pop("model_type")
    config = AutoConfig.for_model(model_type, **(TOKENS | settings))
    torch.manual_seed(7)
    model = getattr(transformers, architecture.published).from_config(config)
    with torch.no_grad():  # biases that are all zero would hide that they are lost
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(folder)
    file = package_folder(TOKENIZER) / "tokenizer.json"
    special = SPECIAL | architecture.tokenizer
    PreTrainedTokenizerFast(tokenizer_file=str(file), **special).save_pretrained(folder)
    return [
        f"model.name={model_type}",
        f"model.name_or_path={folder}",
        f"model.targets=[{','.join(architecture.targets)}]",
        f"model.head=[{','.join(architecture.head)}]",
        *(
            f"model.fused={{{layer}: [{','.join(parts)}]}}"
            for layer, parts in architecture.fused.items()
        ),
    ]


# Weights are larger than those of a fresh model, so that every token and every rank matters.
BERT = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 200, "initializer_range": 0.15,
}  # fmt: skip
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 200, "initializer_range": 0.15}
# Two heads of keys and values for four of queries.
LLAMA = BERT | {"num_key_value_heads": 2, "head_dim": 8}
DEBERTA = BERT | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0}
BART = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48,
    "max_position_embeddings": 200, "init_std": 0.15, "decoder_start_token_id": 2,
}  # fmt: skip
BLOOM = {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.15}
FALCON = BERT | {"new_decoder_architecture": True, "num_kv_heads": 2}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4,
      "decoder_start_token_id": 1}  # fmt: skip
XLM = {"emb_dim": 32, "n_layers": 2, "n_heads": 4, "n_words": 800,
       "max_position_embeddings": 200}  # fmt: skip


def encoder(model_type, settings, targets="query,value", head="classifier", **more):
    """Return a masked language model, to be a classifier."""
    published = more.pop("published", "AutoModelForMaskedLM")
    named = {"model_type": model_type, **settings}
    return Architecture(named, targets.split(","), head.split(","), published, **more)


def decoder(model_type, settings, targets="q_proj,v_proj", head="score", **more):
    """Return a causal language model, to be a classifier or to generate texts."""
    return encoder(model_type, settings, targets, head, published="AutoModelForCausalLM", **more)


def seq2seq(model_type, settings, targets):
    """Return an encoder with a decoder, to be a classifier."""
    head, published = "classification_head", "AutoModelForSeq2SeqLM"
    return encoder(model_type, settings, targets, head, published=published)


POOLED = "pooler,classifier"
ENCODERS = {
    "bert": encoder("bert", BERT, head=POOLED),
    "roberta": encoder("roberta", BERT),
    "xlm-roberta": encoder("xlm-roberta", BERT, "key,output.dense"),
    "camembert": encoder("camembert", BERT, "query,dense"),
    "distilbert": encoder(
        "distilbert",
        {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "initializer_range": 0.15},
        "q_lin,v_lin",
        "pre_classifier,classifier",
    ),
    "electra": encoder("electra", BERT | {"embedding_size": 24}),
    "deberta": encoder("deberta", DEBERTA, "in_proj", POOLED),
    "deberta-v2": encoder(
        "deberta-v2", DEBERTA | {"position_buckets": 8}, "query_proj,value_proj", POOLED
    ),
    # One projection of keys serves contents and positions.
    "deberta-v2, shared": encoder(
        "deberta-v2",
        DEBERTA | {"position_buckets": 8, "share_att_key": True, "norm_rel_ebd": "layer_norm"},
        "query_proj,key_proj",
        POOLED,
    ),
    "mpnet": encoder("mpnet", BERT, "attn.q,attn.v"),
    # All layers are one.
    "albert": encoder("albert", BERT | {"embedding_size": 16}, head=POOLED),
    "modernbert": encoder(
        "modernbert",
        BERT | {"cls_token_id": 0, "sep_token_id": 2, "local_attention": 8},
        "Wqkv.q,Wqkv.v",
        "head,classifier",
        fused={"Wqkv": QKV},
    ),
    "longformer": encoder("longformer", BERT | {"attention_window": 4}),
    "xlnet": encoder(
        "xlnet",
        {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48, "initializer_range": 0.15},
        "layer_1",
        "sequence_summary,logits_proj",
        published="AutoModelForCausalLM",
        tokenizer={"padding_side": "left"},
    ),
    "bart": seq2seq("bart", BART, "q_proj,v_proj"),
    "mbart": seq2seq("mbart", BART, "q_proj,fc1"),
    "t5": seq2seq("t5", T5, "q,v"),
    "umt5": seq2seq("umt5", T5, "q,wo"),
    "roformer": encoder("roformer", BERT),
    "funnel": encoder(
        "funnel",
        {"d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 48, "block_sizes": [1, 1]},
        "q_head,v_head",
    ),
    "xlm": encoder("xlm", XLM | {"init_std": 0.15}, "q_lin,v_lin", "sequence_summary"),
    "rembert": encoder(
        "rembert", BERT | {"input_embedding_size": 16, "output_embedding_size": 16}, head=POOLED
    ),
    "esm": encoder("esm", BERT | {"position_embedding_type": "rotary", "mask_token_id": 4}),
    "megatron-bert": encoder("megatron-bert", BERT, head=POOLED),
}
DECODERS = {
    "gpt2": decoder("gpt2", GPT2, "c_attn.q,c_attn.v", fused={"c_attn": QKV}),
    "gpt_neox": decoder("gpt_neox", BERT, "query_key_value"),
    "gpt_neox, parts": decoder(
        "gpt_neox", BERT, "query_key_value.q,query_key_value.v", fused={"query_key_value": QKV}
    ),
    "opt": decoder("opt", BERT | {"ffn_dim": 48, "word_embed_proj_dim": 16, "init_std": 0.15}),
    "llama": decoder("llama", LLAMA),
    "qwen2": decoder("qwen2", LLAMA, "k_proj,v_proj"),
    "mistral": decoder("mistral", LLAMA | {"sliding_window": 4}),
    "gemma3_text": decoder("gemma3_text", LLAMA | {"sliding_window": 8}),
    "phi3": decoder(
        "phi3",
        BERT | {"num_key_value_heads": 4},
        "qkv_proj.k,qkv_proj.v",
        fused={"qkv_proj": QKV},
    ),
    # Fewer heads of keys and values than of queries: blocks of two sizes.
    "phi3, grouped": decoder(
        "phi3",
        BERT | {"num_key_value_heads": 2},
        "qkv_proj.q,qkv_proj.v",
        fused={"qkv_proj": QKV},
    ),
    "phi3, gates": decoder(
        "phi3",
        BERT | {"num_key_value_heads": 2},
        "gate_up_proj.up,o_proj",
        fused={"gate_up_proj": ["gate", "up"]},
    ),
    "bloom": decoder("bloom", BLOOM, "query_key_value"),
    "bloom, parts": decoder(
        "bloom", BLOOM, "query_key_value.k,query_key_value.v", fused={"query_key_value": QKV}
    ),
    "falcon": decoder("falcon", FALCON, "query_key_value"),
    "falcon, parts": decoder(
        "falcon", FALCON, "query_key_value.q,query_key_value.v", fused={"query_key_value": QKV}
    ),
    # As Falcon-7B: one head of keys and values for all.
    "falcon, one head": decoder(
        "falcon",
        BERT | {"multi_query": True, "parallel_attn": True},
        "query_key_value.q,query_key_value.k",
        fused={"query_key_value": QKV},
    ),
    "falcon, by head": decoder(
        "falcon",
        BERT | {"multi_query": False, "alibi": True, "bias": True},
        "query_key_value.v",
        fused={"query_key_value": QKV},
    ),
    "gptj": decoder("gptj", GPT2 | {"rotary_dim": 4}),
    "gpt_neo": decoder(
        "gpt_neo",
        BERT | {"attention_types": [[["global", "local"], 1]], "window_size": 4, "num_layers": 2,
                "num_heads": 4},
    ),
    "gpt_bigcode": decoder("gpt_bigcode", GPT2, "c_attn"),
    "gpt_bigcode, parts": decoder(
        "gpt_bigcode", GPT2, "c_attn.q,c_attn.v", fused={"c_attn": QKV}
    ),
    "gpt_bigcode, by head": decoder(
        "gpt_bigcode", GPT2 | {"multi_query": False}, "c_attn.v", fused={"c_attn": QKV}
    ),
    "mixtral": decoder("mixtral", LLAMA | {"num_local_experts": 2, "num_experts_per_tok": 1}),
    "qwen3": decoder("qwen3", LLAMA, "k_proj,v_proj"),
    "phi": decoder("phi", BERT),
    "stablelm": decoder("stablelm", LLAMA),
    "starcoder2": decoder("starcoder2", LLAMA),
    "olmo2": decoder("olmo2", LLAMA),
    "glm": decoder(
        "glm", LLAMA, "q_proj,gate_up_proj.up", fused={"gate_up_proj": ["gate", "up"]}
    ),
}  # fmt: skip
# Without a classifier in transformers.
LANGUAGE_MODELS = {
    "codegen": decoder("codegen", GPT2 | {"rotary_dim": 4}, "qkv_proj"),
    "codegen, parts": decoder(
        "codegen",
        GPT2 | {"rotary_dim": 4},
        "qkv_proj.q,qkv_proj.v",
        fused={"qkv_proj": ["q", "v", "k"]},
    ),
    "cohere": decoder("cohere", LLAMA),
    "mamba": decoder("mamba", BERT | {"state_size": 4}, "in_proj,x_proj"),
}
# Models that are not what a run needs, and those whose outputs depend on padding.
OTHERS = {
    "fnet": encoder("fnet", BERT, "intermediate.dense", POOLED),
    "nystromformer": encoder(
        "nystromformer", BERT | {"num_landmarks": 4, "segment_means_seq_len": 4}, "query"
    ),
    "convbert": encoder("convbert", BERT | {"embedding_size": 32}),
    "squeezebert": encoder("squeezebert", BERT | {"embedding_size": 32}, "query", POOLED),
    "mra": encoder("mra", BERT),
    "canine": encoder("canine", BERT, head=POOLED, published="AutoModel"),
    "ibert": encoder("ibert", BERT),
    "reformer": encoder("reformer", {}, "query"),
    "led": seq2seq("led", BART | {"attention_window": 4}, "q_proj"),
    "rwkv": decoder("rwkv", BERT | {"attention_hidden_size": 32}, "key"),
    "persimmon": decoder("persimmon", BERT, "query_key_value"),
}
