"""A tokenizer that does not fit its model is refused in one sentence, for labels and for texts."""

import json

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.models.loading import load, longest_input
from tests.support.small_gpt2 import END, save_small_gpt2, small_gpt2, small_tokenizer


@pytest.fixture
def folder(tmp_path):
    save_small_gpt2(tmp_path)
    return tmp_path


def change_special_tokens(folder, **tokens):
    file = folder / "tokenizer_config.json"
    tree = json.loads(file.read_text()) | tokens
    file.write_text(json.dumps({key: value for key, value in tree.items() if value is not None}))


def problem(folder, labels):
    config = compose(["model=tiny-gpt2", f"model.name_or_path={folder}"]).model
    with pytest.raises(RequestError) as caught:
        load(config, labels)
    (sentence,) = caught.value.problems
    return sentence.replace(str(folder), "DIR")


def loads(folder, labels):
    load(compose(["model=tiny-gpt2", f"model.name_or_path={folder}"]).model, labels)
    return True


LABELS_AND_TEXTS = pytest.mark.parametrize("labels", [2, None])


@LABELS_AND_TEXTS
def test_a_folder_without_a_tokenizer(folder, labels):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    assert "found no vocabulary in 'DIR'" in problem(folder, labels)


@LABELS_AND_TEXTS
@pytest.mark.parametrize("added", [1, 40])
def test_a_vocabulary_larger_than_the_embedding(folder, labels, added):
    tokenizer = small_tokenizer()
    tokenizer.add_tokens([f"new{number}" for number in range(added)])
    tokenizer.save_pretrained(folder)
    last, rows = len(tokenizer) - 1, len(small_tokenizer())
    assert problem(folder, labels) == (
        "model.tokenizer: the tokenizer in 'DIR' is of another model: token "
        f"'new{added - 1}' has the number {last}, the model knows numbers up to {rows - 1}."
    )


@pytest.mark.parametrize(
    ("labels", "missing", "expected"),
    [
        (2, ["pad_token", "eos_token"], "neither a padding token nor an end token"),
        (None, ["pad_token", "eos_token"], "has no end token (eos_token), which texts need"),
        (None, ["eos_token"], "has no end token (eos_token), which texts need"),
        (None, ["pad_token"], None),
        (2, ["pad_token"], None),
        (2, ["eos_token"], None),
    ],
)
def test_special_tokens_that_are_missing(folder, labels, missing, expected):
    change_special_tokens(folder, **dict.fromkeys(missing))
    if expected is None:
        assert loads(folder, labels)
    else:
        assert expected in problem(folder, labels)


def test_the_head_reads_the_tokenizers_padding(tmp_path):
    tokenizer = small_tokenizer()
    other = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, eos_token="a", pad_token="b"
    )
    small_gpt2(tokenizer).save_pretrained(tmp_path)
    other.save_pretrained(tmp_path)
    backbone, loaded = load(
        compose(["model=tiny-gpt2", f"model.name_or_path={tmp_path}"]).model, labels=2
    )
    assert backbone.config.pad_token_id == loaded.pad_token_id != tokenizer.pad_token_id


@pytest.mark.parametrize(
    ("model_type", "settings", "expected"),
    [
        ("roberta", {"pad_token_id": 1}, 62),
        ("camembert", {"pad_token_id": 1}, 62),
        ("mpnet", {}, 62),
        ("bert", {}, 64),
        ("opt", {"word_embed_proj_dim": 16, "ffn_dim": 32}, 64),
        ("xlnet", {"d_model": 16, "n_head": 2}, None),
        ("t5", {"d_model": 16, "d_kv": 8, "num_heads": 2}, None),
    ],
)
def test_no_position_beyond_the_longest_input_is_used(model_type, settings, expected):
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    if expected is not None:
        settings = {**shape, "max_position_embeddings": 64, "intermediate_size": 32, **settings}
    backbone = AutoModel.from_config(
        AutoConfig.for_model(model_type, vocab_size=90, **settings)
    ).eval()
    longest = longest_input(backbone)
    if expected is None:
        assert longest > 10**6
        return
    assert longest == expected
    ids = torch.full((1, longest), 7)
    assert backbone(input_ids=ids).last_hidden_state.isfinite().all()
    with pytest.raises((IndexError, RuntimeError)):
        backbone(input_ids=torch.full((1, longest + 1), 7))


@LABELS_AND_TEXTS
@pytest.mark.parametrize("kind", ["words", "pieces"])
def test_a_vocabulary_that_loses_what_it_does_not_know(kind, folder, labels):
    words = {word: number for number, word in enumerate([END, "a", "pub", "p", "u", "b"])}
    model = WordLevel(words, unk_token="?") if kind == "words" else BPE(words, [])
    backend = Tokenizer(model)
    backend.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END).save_pretrained(folder)
    assert "has no token for 'Z' and none for what is unknown (unk_token)" in problem(
        folder, labels
    )


def test_positions_that_follow_another_padding_token(tmp_path):
    overrides = ["model.pretrained=false", "model.config={model_type: roberta, pad_token_id: 5}"]
    shape = "vocab_size: 800, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2"
    overrides[1] = overrides[1].replace("}", f", {shape}}}")
    with pytest.raises(RequestError, match="pads with the token 1, but the model counts positions"):
        load(compose(overrides).model, 2)
