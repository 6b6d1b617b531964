"""Beam search against transformers, the ban on repeated n-grams, and what a killed run keeps."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import LogitsProcessor, LogitsProcessorList, NoRepeatNGramLogitsProcessor

from dylora_exp.core.errors import TrainingDiverged
from dylora_exp.objectives.decode_config import DecodeConfig
from dylora_exp.objectives.torch_parts import decoding
from dylora_exp.objectives.torch_parts.decoding import NoRepeatedNgram, clean, decode, stop_tokens
from tests.support.small_gpt2 import LINES, small_gpt2, small_tokenizer

CONTEXTS = [LINES[0], "A : is : B", "name : Pub", LINES[0] + " | name : A", "B"]


@pytest.fixture(scope="module")
def tokenizer():
    return small_tokenizer()


@pytest.fixture(scope="module")
def prompts(tokenizer):
    return [[*tokenizer.encode(context), tokenizer.eos_token_id] for context in CONTEXTS]


def has_repeated(tokens, size):
    ngrams = [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]
    return len(set(ngrams)) < len(ngrams)


class SlowBan(LogitsProcessor):
    """Tries every token after the generated ones."""

    def __init__(self, size, prompt):
        self.size, self.prompt = size, prompt

    def __call__(self, input_ids, scores):
        scores = scores.clone()
        for row, tokens in enumerate(input_ids[:, self.prompt :].tolist()):
            for token in range(scores.shape[1]):
                if has_repeated([*tokens, token], self.size):
                    scores[row, token] = -torch.inf
        return scores


@given(st.data(), st.integers(1, 5), st.integers(1, 4))
def test_the_ban_is_that_of_trying_every_token(data, size, vocabulary):
    prompt = data.draw(st.integers(0, 6))
    tokens = st.integers(0, vocabulary - 1)
    beams = []
    for _ in range(3):
        beam = []
        for token in data.draw(st.lists(tokens, min_size=12, max_size=12)):
            if not has_repeated([*beam, token], size):
                beam.append(token)
        beams.append(beam)
    shortest = min(map(len, beams))
    context = data.draw(st.lists(tokens, min_size=prompt, max_size=prompt))
    ids = torch.tensor([context + beam[:shortest] for beam in beams], dtype=torch.long)
    scores = torch.randn(3, vocabulary)
    before = scores.clone()
    ours = NoRepeatedNgram(size, prompt)(ids, scores)
    assert torch.equal(ours, SlowBan(size, prompt)(ids, scores))
    assert torch.equal(scores, before)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_random_outputs_never_repeat_an_ngram(seed, size):
    generator = torch.Generator().manual_seed(seed)
    ban = NoRepeatedNgram(size, prompt=4)
    ids = torch.tensor([[0, 1, 0, 1]])
    for _ in range(30):
        scores = ban(ids, torch.randn(1, 3, generator=generator))
        if scores.isinf().all():
            break
        ids = torch.cat([ids, scores.argmax(dim=-1, keepdim=True)], dim=1)
    assert not has_repeated(ids[0, 4:].tolist(), size)


def stock(model, tokenizer, prompt, settings):
    """One context by transformers alone, without padding, with the slow ban."""
    ban = [SlowBan(settings.no_repeat_ngram, len(prompt))] if settings.no_repeat_ngram else []
    beams = {"num_beams": settings.beams, "length_penalty": settings.length_penalty}
    output = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        do_sample=False,
        max_new_tokens=settings.max_new_tokens,
        eos_token_id=stop_tokens(tokenizer),
        logits_processor=LogitsProcessorList(ban),
        **(beams if settings.beams > 1 else {}),
    )
    return clean(tokenizer.decode(output[0, len(prompt) :], skip_special_tokens=True))


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("size", [0, 2])
def test_padded_batches_are_decoded_as_transformers_decodes_one(
    beams, size, tokenizer, prompts, tmp_path
):
    settings = DecodeConfig(beams=beams, max_new_tokens=20, no_repeat_ngram=size)
    model = small_gpt2(tokenizer)
    together = decode(model, tokenizer, prompts, settings, 4, tmp_path / "texts", "", "")
    alone = [stock(model, tokenizer, prompt, settings) for prompt in prompts]
    assert together.texts == alone
    assert len(set(alone)) == len(alone)


def successor(tokenizer, after_15=10):
    """A GPT-2 whose next token is one more than the last one; after the end token comes 10."""
    count = len(tokenizer)
    model = small_gpt2(tokenizer, n_embd=count, n_layer=1, n_head=1, tie_word_embeddings=False)
    with torch.no_grad():
        for layer in (model.transformer.h[0].attn.c_proj, model.transformer.h[0].mlp.c_proj):
            nn.init.zeros_(layer.weight)
        model.transformer.wpe.weight.zero_()
        model.transformer.wte.weight.copy_(torch.eye(count))
        following = (torch.arange(count) + 1) % count
        following[tokenizer.eos_token_id], following[15] = 10, after_15
        model.lm_head.weight.zero_()
        model.lm_head.weight[following, torch.arange(count)] = 1
    return model


def test_a_context_may_be_copied_though_it_repeats_itself(tokenizer):
    model = successor(tokenizer)
    cycle = [10, 11, 12, 13, 14, 15]
    prompt = torch.tensor([[*cycle, *cycle, tokenizer.eos_token_id]])
    places = {"attention_mask": torch.ones_like(prompt), "max_new_tokens": 11, "do_sample": False}

    def generated(*processors):
        output = model.generate(prompt, logits_processor=LogitsProcessorList(processors), **places)
        return output[0, prompt.shape[1] :].tolist()

    assert generated() == (cycle * 2)[:11]
    ours = generated(NoRepeatedNgram(4, prompt.shape[1]))
    assert ours[:9] == (cycle * 2)[:9]  # the context's own repetition, once
    assert ours[9] != 13
    assert not has_repeated(ours, 4)
    theirs = generated(NoRepeatNGramLogitsProcessor(4))
    assert theirs[:3] == cycle[:3]
    assert theirs[3] != 13


def test_a_text_ends_at_a_blank_line(tokenizer, tmp_path):
    end, blank = stop_tokens(tokenizer)
    assert (end, tokenizer.decode([blank])) == (tokenizer.eos_token_id, "\n\n")
    model = successor(tokenizer, after_15=blank)
    steps = []
    model.register_forward_hook(lambda *_: steps.append(1))
    settings = DecodeConfig(beams=1, max_new_tokens=20)
    done = decode(model, tokenizer, [[end]], settings, 1, tmp_path / "texts", "", "")
    assert len(steps) == 7  # one for each token, the blank line is the last
    assert done.texts == [tokenizer.decode([10, 11, 12, 13, 14, 15])]
    assert clean(" One,\ntwo  .\n\n Three.") == "One, two ."
    assert clean(" a . b 's n't") == "a . b 's n't"


def test_a_text_of_several_paragraphs_ends_at_the_end_token_alone(tokenizer, tmp_path):
    end, blank = stop_tokens(tokenizer)
    assert stop_tokens(tokenizer, "end") == [end]
    model = successor(tokenizer, after_15=blank)  # it begins again after the blank line
    settings = DecodeConfig(beams=1, max_new_tokens=20, no_repeat_ngram=0, stop="end")
    whole = decode(model, tokenizer, [[end]], settings, 1, tmp_path / "texts", "", "").texts[0]
    before, after = whole.split("\n\n", 1)
    assert before == tokenizer.decode([10, 11, 12, 13, 14, 15]) and after
    assert clean(" One,\ntwo  .\n\n Three.\n", "end") == "One,\ntwo  .\n\n Three."


def test_the_choice_of_where_texts_end_makes_no_new_run_of_an_old_one():
    old = {"beams": 3, "max_new_tokens": 9, "no_repeat_ngram": 4, "length_penalty": 0.8}
    assert DecodeConfig(**old).model_dump() == old
    assert DecodeConfig(**old, stop="blank_line") == DecodeConfig(**old)
    assert DecodeConfig(**old, stop="end").model_dump() == old | {"stop": "end"}
    assert DecodeConfig(**DecodeConfig(**old, stop="end").model_dump()).stop == "end"


@pytest.fixture
def decoder(monkeypatch):
    """Return a function that decodes to ``file`` without a model, and the prompts it decoded."""
    calls = []

    def fake(model, tokenizer, prompts, settings):
        calls.extend(prompts)
        return [f"text of {prompt}\u2028é" for prompt in prompts]

    monkeypatch.setattr(decoding, "_decode_batch", fake)

    def run(file, weights="w", prompts=PROMPTS, size=2):
        calls.clear()
        done = decode(nn.Identity(), None, prompts, DecodeConfig(), size, file, weights, "")
        assert done.texts == [f"text of {prompt}\u2028é" for prompt in prompts]
        return list(calls), done.seconds

    return run


PROMPTS = [[1], [2, 2, 2], [3, 3], [4, 4, 4], [5, 5]]


def test_each_prompt_is_decoded_once_longest_first(decoder, tmp_path):
    file = tmp_path / "predictions" / "rank-1.jsonl"
    assert decoder(file)[0] == [[2, 2, 2], [4, 4, 4], [3, 3], [5, 5], [1]]
    content = file.read_bytes()
    seconds = sum(json.loads(line)["seconds"] for line in content.splitlines()[1:])
    assert decoder(file) == ([], seconds)
    assert file.read_bytes() == content


def test_a_torn_last_line_is_cut_off_wherever_it_is_torn(decoder, tmp_path):
    file = tmp_path / "texts"
    decoder(file)
    lines = file.read_bytes().splitlines(keepends=True)
    kept = b"".join(lines[:3])
    for length in range(len(lines[3])):
        file.write_bytes(kept + lines[3][:length])
        assert decoder(file)[0] == [[1]]
        assert file.read_bytes().startswith(kept)
        assert [len(json.loads(line)) for line in file.read_bytes().splitlines()] == [3, 3, 3, 3]


def replace_a_text(lines):
    tree = json.loads(lines[2])
    tree["texts"][0][1] = "a reference"
    lines[2] = json.dumps(tree).encode() + b"\n"


def change_the_seconds(lines):
    lines[2] = lines[2].replace(b'"seconds": ', b'"seconds": 1')


def swap(lines):
    lines[2], lines[1] = lines[1], lines[2]


def repeat(lines):
    lines[2] = lines[1]


def not_a_batch(lines):
    lines[2] = b'{"texts": null, "seconds": "x", "sha256": []}\n'


def nested(lines):
    lines[2] = b"[" * 100_000 + b"\n"


def without_digest(lines):
    tree = json.loads(lines[2])
    del tree["sha256"]
    lines[2] = json.dumps(tree).encode() + b"\n"


@pytest.mark.parametrize(
    "spoil",
    [replace_a_text, change_the_seconds, swap, repeat, not_a_batch, nested, without_digest],
)
def test_a_damaged_line_and_what_follows_are_decoded_again(spoil, decoder, tmp_path):
    file = tmp_path / "texts"
    decoder(file)
    content = file.read_bytes()
    lines = content.splitlines(keepends=True)
    spoil(lines)
    file.write_bytes(b"".join(lines))
    assert len(decoder(file)[0]) in (3, 5)
    fresh = [json.loads(line) for line in file.read_bytes().splitlines()]
    assert [line["texts"] for line in fresh[1:]] == [
        json.loads(line)["texts"] for line in content.splitlines()[1:]
    ]


def test_lines_beyond_the_last_batch_are_cut_off(decoder, tmp_path):
    file = tmp_path / "texts"
    decoder(file)
    content = file.read_bytes()
    file.write_bytes(content + content.splitlines(keepends=True)[1])
    assert decoder(file)[0] == []
    assert file.read_bytes() == content


@pytest.mark.parametrize("torn", [b"", b'{"weights": "w"', b"\xff\xfe", b"[]\n", b"{}\n{}\n"])
def test_a_file_without_its_first_line_is_begun_anew(torn, decoder, tmp_path):
    file = tmp_path / "texts"
    file.write_bytes(torn)
    assert len(decoder(file)[0]) == 5


@pytest.mark.parametrize(
    "change",
    [{"weights": "others"}, {"prompts": [[1], [2, 2, 2], [3, 3], [4, 4, 4], [6, 6]]}, {"size": 3}],
)
def test_texts_of_other_weights_prompts_or_batches_are_thrown_away(change, decoder, tmp_path):
    file = tmp_path / "texts"
    decoder(file)
    assert len(decoder(file, **change)[0]) == 5


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("beams", [1, 3])
def test_outputs_that_are_not_finite_are_no_texts(value, beams, tokenizer, prompts, tmp_path):
    model = small_gpt2(tokenizer)
    with torch.no_grad():
        model.transformer.ln_f.bias[0] = value
    settings = DecodeConfig(beams=beams, max_new_tokens=4)
    file = tmp_path / "texts.jsonl"
    with pytest.raises(TrainingDiverged, match=r"outputs are not finite; was training stable\?"):
        decode(model, tokenizer, prompts, settings, 2, file, "", "")
    assert len(file.read_text().splitlines()) == 1  # and none are kept
