"""An example's output does not depend on its batch, for every architecture that is accepted."""

import pytest
import torch
from datasets import Dataset
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.models.loading import load
from dylora_exp.objectives.decode_config import DecodeConfig
from dylora_exp.objectives.torch_parts.batches import Collator, scoring_batches, tokenize
from dylora_exp.objectives.torch_parts.decoding import decode

TEXTS = ["one", "two three four five six seven", "", "eight nine ten", "a b c d e f g h i j k l m"]
BERT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 48, "max_position_embeddings": 130}  # fmt: skip
# Of each: its settings, and the names of its targets and of its head.
ENCODERS = {
    "bert": (BERT, "query", "pooler,classifier"),
    "roberta": (BERT, "query", "classifier"),
    "electra": (BERT | {"embedding_size": 32}, "query", "classifier"),
    "mpnet": (BERT, "attn.q", "classifier"),
    "albert": (BERT | {"embedding_size": 16}, "query", "pooler,classifier"),
    "distilbert": ({"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48}, "q_lin",
                   "pre_classifier,classifier"),
    "deberta-v2": (BERT | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"],
                           "position_buckets": 8}, "query_proj", "pooler,classifier"),
    "xlnet": ({"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 48}, "layer_1",
              "sequence_summary,logits_proj"),
    "modernbert": (BERT | {"cls_token_id": 2, "sep_token_id": 2}, "Wqkv", "head,classifier"),
}  # fmt: skip
LLAMA = BERT | {"num_key_value_heads": 1, "head_dim": 16}
DECODERS = {
    "gpt2": ({"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 130}, "c_attn"),
    "gpt_neox": (BERT, "query_key_value"),
    "bloom": ({"hidden_size": 32, "n_layer": 2, "n_head": 2}, "query_key_value"),
    "opt": (BERT | {"ffn_dim": 48, "word_embed_proj_dim": 32}, "q_proj"),
    "llama": (LLAMA, "q_proj"),
    "qwen2": (LLAMA, "q_proj"),
    "gptj": ({"n_embd": 32, "n_layer": 2, "n_head": 2, "rotary_dim": 8, "n_positions": 130},
             "q_proj"),
}  # fmt: skip


def random_model(model_type, labels):
    """A random model, whose weights are large enough for all tokens to matter."""
    torch.manual_seed(0)
    if model_type in ENCODERS:
        settings, targets, head = ENCODERS[model_type]
    else:
        (settings, targets), head = DECODERS[model_type], "score"
    config = compose(
        ["model.pretrained=false", f"model.targets=[{targets}]", f"model.head=[{head}]"]
    )
    tokens = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "vocab_size": 800}
    config.model.config = {"model_type": model_type, **tokens, **settings}
    return load(config.model, labels)


def outputs(backbone, tokenizer, size):
    data = Dataset.from_list([{"text": [text], "label": 0} for text in TEXTS])
    rows = tokenize(data, tokenizer, 60)
    found = {}
    with torch.no_grad():
        for batch in scoring_batches(rows, Collator(tokenizer, regression=False), size):
            logits = backbone.eval()(**batch.inputs).logits
            found |= dict(zip(batch.indices, logits, strict=True))
    return torch.stack([found[index] for index in range(len(TEXTS))])


@pytest.mark.parametrize("model_type", [*ENCODERS, *DECODERS])
def test_labels(model_type):
    backbone, tokenizer = random_model(model_type, labels=3)
    together = outputs(backbone, tokenizer, 5)
    assert (together[0] - together[1]).abs().max() > 1e-3 * together.abs().max()
    for size in (1, 2):
        torch.testing.assert_close(outputs(backbone, tokenizer, size), together, rtol=0, atol=1e-5)


@pytest.mark.parametrize("model_type", ["bert", "distilbert", "gpt2", "llama"])
def test_a_tokenizer_that_pads_on_the_wrong_side(model_type, monkeypatch):
    given = AutoTokenizer.from_pretrained

    def left(*arguments, **options):
        return given(*arguments, **options, padding_side="left")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", left)
    backbone, tokenizer = random_model(model_type, labels=3)
    together = outputs(backbone, tokenizer, 5)
    torch.testing.assert_close(outputs(backbone, tokenizer, 1), together, rtol=0, atol=1e-5)


@pytest.mark.parametrize("model_type", DECODERS)
def test_texts(model_type, tmp_path):
    backbone, tokenizer = random_model(model_type, labels=None)
    prompts = [[*tokenizer.encode(text, add_special_tokens=False), 2] for text in TEXTS]
    settings = DecodeConfig(beams=2, max_new_tokens=8)

    def texts(size):
        file = tmp_path / f"{size}.jsonl"
        return decode(backbone, tokenizer, prompts, settings, size, file, "", "").texts

    assert texts(1) == texts(2) == texts(5)


class Leaking(nn.Module):
    """A layer that mixes the mean of all tokens, padding among them, into each."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, *arguments, **options):
        found = self.layer(*arguments, **options)
        return found + found.mean(dim=1, keepdim=True)


@pytest.mark.parametrize(("labels", "what"), [(2, "an example's score"), (None, "a text's loss")])
def test_a_model_to_which_padding_matters_is_refused(labels, what, monkeypatch):
    kind = AutoModelForCausalLM if labels is None else AutoModelForSequenceClassification
    given = kind.from_config

    def leaking(*arguments, **options):
        backbone = given(*arguments, **options)
        backbone.transformer.h[0].mlp = Leaking(backbone.transformer.h[0].mlp)
        return backbone

    monkeypatch.setattr(kind, "from_config", leaking)
    with pytest.raises(RequestError, match=f"{what} would depend on the other examples"):
        random_model("gpt2", labels)
