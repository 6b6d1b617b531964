"""Overrides that several runs have: they count where they have an effect, and nowhere else."""

import pytest

from dylora_exp.config import compose, run_id
from dylora_exp.core import RequestError
from dylora_exp.multirun.jobs import Job, overrides_without_effect
from dylora_exp.multirun.search import SearchRequest, run_search


@pytest.mark.parametrize(
    ("method", "overrides"),
    [
        ("finetune", ["ranks.r_max=4", "ranks.score=[1,2]", "ranks.tolerance=0.1"]),
        ("finetune", ["model.targets=[key]", "method.alpha=8", "method.freeze=strict"]),
        ("flop", ["ranks=powers", "model.fused={c_attn: [q, k]}"]),
        ("lora", ["ranks=sandwich", "trainer.label_smoothing=0.1", "trainer.epochs=3"]),
        ("lora", ["task.decode.beams=2", "model.config={hidden_size: 8}"]),
    ],
)
def test_they_make_no_other_run_where_they_have_no_effect(method, overrides):
    words = [f"method={method}"]
    words += ["method.target_sparsity=0.5"] if method == "flop" else []
    plain = compose(words)
    assert run_id(Job((*words, *overrides)).compose()) == run_id(plain)
    with pytest.raises(RequestError) as error:
        compose([*words, *overrides])
    # What describes a model is given whatever the method and the task, and is not refused.
    keys = {each.partition("=")[0].partition(".")[0] for each in overrides} - {"model"}
    assert {each.partition(".")[0] for each in error.value.problems} == keys


def test_they_count_where_they_have_one():
    words = ["method=lora", "ranks.r_max=4", "method.alpha=8", "method.freeze=strict"]
    assert run_id(Job(tuple(words)).compose()) == run_id(compose(words[:3]))


def test_an_override_without_effect_in_any_job_is_found():
    def idle(*lines):
        return list(overrides_without_effect(Job(tuple(line.split())) for line in lines))

    both = ["method=finetune ranks.r_max=4", "method=lora ranks.r_max=4"]
    assert idle(*both) == idle(*reversed(both)) == []
    assert idle(both[0], "method=flop ranks.r_max=8") == ["ranks.r_max"]
    assert idle("method=lora ranks=geometric seed=1", "method=lora ranks=sandwich seed=1") == [
        "ranks"
    ]
    assert idle("seed=abc ranks.p=0.3") == []  # it says so itself
    assert idle("debug=default trainer.epochs=3") == []  # any command can be made short


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["method=finetune", "ranks.r_max=choice(2,4)"], "ranks.r_max"),
        (["method=choice(lora,finetune)", "trainer.label_smoothing=0.1"], "trainer.label_smo"),
    ],
)
def test_a_search_of_what_changes_nothing_is_refused(overrides, key, tmp_path):
    pytest.importorskip("optuna")
    with pytest.raises(RequestError, match=f"^{key}.*: it would change nothing"):
        run_search(SearchRequest([*overrides, f"outputs_dir={tmp_path}"], trials=1))
    assert not list(tmp_path.iterdir())


def test_what_an_experiment_sets_in_vain_makes_no_other_run(tmp_path):
    (tmp_path / "experiment").mkdir()
    file = tmp_path / "experiment" / "small.yaml"
    file.write_text("# @package _global_\nranks: {r_max: 2}\ntrainer: {label_smoothing: 0.3}\n")
    for method, same in (("finetune", True), ("lora", False)):
        plain, small = (
            run_id(compose([f"method={method}", *words], [f"file://{tmp_path}"]))
            for words in ([], ["experiment=small"])
        )
        assert (plain == small) is same
