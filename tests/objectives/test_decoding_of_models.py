"""How a model's folder says that texts are to be generated changes nothing: the task alone does."""

import json

import pytest

from dylora_exp.config.composition import compose
from dylora_exp.models.loading import load
from dylora_exp.objectives.decode_config import DecodeConfig
from dylora_exp.objectives.torch_parts.decoding import decode
from tests.support.small_gpt2 import LINES, save_small_gpt2

SETTINGS = {
    "no_repeat_ngram_size": 1, "min_new_tokens": 15, "min_length": 40, "repetition_penalty": 5.0,
    "max_time": 0.0001, "encoder_no_repeat_ngram_size": 1, "bad_words_ids": [[5], [6], [7]],
    "suppress_tokens": list(range(20, 200)), "forced_eos_token_id": 7, "num_return_sequences": 2,
    "do_sample": True, "temperature": 9.0, "early_stopping": True, "length_penalty": 9.0,
    "renormalize_logits": True, "eos_token_id": [0, 50, 60, 70], "use_cache": False,
    "sequence_bias": [[[9], 50.0]], "begin_suppress_tokens": [11], "diversity_penalty": 1.0,
}  # fmt: skip


@pytest.mark.parametrize("file", ["generation_config.json", "config.json"])
@pytest.mark.parametrize("beams", [1, 4])
def test_generation_settings_beside_the_weights_change_no_text(file, beams, tmp_path):
    folder = tmp_path / "model"
    save_small_gpt2(folder)
    config = compose(["model=tiny-gpt2", "task=e2e", f"model.name_or_path={folder}"]).model
    settings = DecodeConfig(beams=beams, max_new_tokens=12)

    def texts(name):
        model, tokenizer = load(config, labels=None)
        prompts = [[*tokenizer.encode(line), tokenizer.eos_token_id] for line in LINES]
        return decode(model, tokenizer, prompts, settings, 2, tmp_path / name, "", "").texts

    plain = texts("plain")
    assert len(set(plain)) == len(plain)
    tree = json.loads((folder / file).read_text())
    changed = SETTINGS if file == "generation_config.json" else SETTINGS | {"eos_token_id": 0}
    (folder / file).write_text(json.dumps({**tree, **changed}))
    assert texts("changed") == plain
