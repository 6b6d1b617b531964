"""Texts to token ids: what is written out is text, and no text is without tokens."""

import pytest
from datasets import Dataset

from dylora_exp.config.composition import compose
from dylora_exp.models.loading import load
from dylora_exp.objectives.torch_parts.batches import Collator, scoring_batches, tokenize
from tests.support.small_gpt2 import END, small_tokenizer


def encoded(tokenizer, *texts):
    data = Dataset.from_list([{"text": [text], "label": 0} for text in texts])
    return tokenize(data, tokenizer, 40)


@pytest.mark.parametrize("size", [1, 2])
def test_an_empty_text_is_an_end_token(size):
    tokenizer = small_tokenizer()
    rows = encoded(tokenizer, "", "A : is : B")
    assert rows[0]["input_ids"] == [tokenizer.eos_token_id]
    assert rows[0]["attention_mask"] == [1]
    assert rows[0]["length"] == 1
    for batch in scoring_batches(rows, Collator(tokenizer, regression=False), size):
        assert (batch.inputs["attention_mask"].sum(dim=1) > 0).all()


def test_special_tokens_that_are_written_out_are_text():
    tokenizer = small_tokenizer()
    (row,) = encoded(tokenizer, f"A {END} B")
    assert tokenizer.eos_token_id not in row["input_ids"]
    assert tokenizer.decode(row["input_ids"]) == f"A {END} B"
    _, roberta = load(compose([]).model, labels=2)
    plain, written = encoded(roberta, "good film", "good </s> <pad> <mask> film")
    special = {roberta.eos_token_id, roberta.pad_token_id, roberta.mask_token_id}
    assert [i for i in written["input_ids"] if i in special] == [roberta.eos_token_id]
    assert plain["input_ids"] == roberta("good film")["input_ids"]
