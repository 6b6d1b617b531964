"""The profile and the table of PEFT's comparison on MetaMathQA."""

import pytest

from dylora_exp.config.composition import compose
from dylora_exp.reporting.make_tables import make_tables
from dylora_exp.reporting.specs.paper import printed_cells
from dylora_exp.reporting.specs.tables import load_spec
from tests.support.records import LEADING, LEADING_R, SVD

# method_comparison/MetaMathQA at 5d602fd: default_training_params.json, data.py, utils.py, and the
# adapter_config.json of llama-3.2-3B-rank32.
PROTOCOL = {
    "seed": 0,
    "model.name_or_path": "meta-llama/Llama-3.2-3B",
    "model.dtype": "bfloat16",
    "model.targets": ["q_proj", "v_proj"],
    "task.hub.path": "meta-math/MetaMathQA",
    "task.hub.eval_path": "openai/gsm8k",
    "task.hub.eval": "test",
    "task.max_length": 768,
    "task.loss_on": "all",
    "task.chat_template": False,
    "task.decode.beams": 1,
    "task.decode.max_new_tokens": 300,
    "task.decode.no_repeat_ngram": 0,
    "task.decode.stop": "end",
    "task.headline": "peft_match",
    "method.alpha": 64,
    "method.dropout": 0,
    "ranks.r_max": 32,
    "trainer.learning_rate": 1e-4,
    "trainer.batch_size": 4,
    "trainer.accumulation_steps": 1,
    "trainer.max_steps": 5000,
    "trainer.order": "random",
    "trainer.weight_decay": 0.1,
    "trainer.schedule": "cosine",
    "trainer.warmup_ratio": 0.1,
    "trainer.warmup_steps": None,
    "trainer.max_grad_norm": 1,
    "trainer.label_smoothing": 0,
    "trainer.bf16": False,
}


def test_the_profile_has_the_values_of_the_protocol():
    config = compose(["profile=llm", "method=lora"])
    for key, expected in PROTOCOL.items():
        found = config
        for name in key.split("."):
            found = getattr(found, name)
        assert found == expected, key


def test_metamath_reads_both_data_sets_and_leaves_long_items_out():
    task = compose(["profile=llm"]).task
    both = [
        {"query": "What is 1 + 1?", "response": "2.\nThe answer is: 2", "type": "GSM_AnsAug"},
        {"question": "What is 1 + 1?", "answer": "2.\n#### 2"},
    ]
    prompt = "Question: What is 1 + 1? Think step by step.\nAnswer:"
    assert [task.example(row)["prompt"] for row in both] == [prompt, prompt]
    assert [task.example(row)["completion"] for row in both] == [both[0]["response"], "2.\n#### 2"]
    for length, used in ((1300, True), (1301, False)):
        assert task.is_trained({"query": "q" * 300, "response": "r" * (length - 301)}) is used


@pytest.fixture(scope="module")
def table():
    return load_spec("llm", "llm")


def test_every_printed_number_stands_beside_a_row(table):
    spec, part = table
    found = {
        (block.paper_block, row.paper_label, column.paper_column)
        for each in spec.blocks_in("llm")
        for block in map(each.for_rank, each.ranks or [0])
        for row in block.rows
        for column in part.columns
    }
    cells = printed_cells("llm")
    assert set(cells) <= found and len(cells) == 10


def test_the_trainable_parameters_are_those_that_peft_prints():
    # 28 layers; queries 3072 x 3072, values 3072 x 1024.
    each = 28 * (3072 + 3072 + 3072 + 1024)
    cells = printed_cells("llm")
    for rank in (32, 64):
        printed = cells[f"Trained at {rank}, rank = {rank}", "LoRA", "Trainable Params"].value
        assert printed * 1e6 == pytest.approx(each * rank)


def test_ours_stand_beside_the_printed_numbers_with_their_difference(results):
    scores = {"peft_match": 0.4884, "exact_match": 0.5, "no_answer": 0.01}
    ranks = {
        (rank, *cut): scores for rank in (1, 2, 4, 8, 16, 32) for cut in (LEADING, LEADING_R, SVD)
    }
    results.add("profile=llm task=metamath method=lora", 0, ranks, parameters={"adapter": 9175040})
    (rendered,) = make_tables(["llm"], "llm", results.folder)
    text = rendered.markdown
    assert "PEFT 5d602fd (Llama-3.2-3B)" in text and "47.84 [+1.00]" in text
    assert "9.17504M" in text and "paper" not in text.lower().replace("peft", "")
    assert {path.name for path in rendered.paths} >= {"llm.md", "llm.tex", "llm.csv"}
