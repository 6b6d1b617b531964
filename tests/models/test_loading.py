import json

import pytest

from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.core.packages import install_command
from dylora_exp.models.architecture import model_problems, resolve
from dylora_exp.models.loading import load, longest_input


def test_the_shipped_backbone_loads_and_reads_any_text():
    config = compose([])
    backbone, tokenizer = load(config.model, labels=3)
    assert backbone.config.num_labels == 3
    assert longest_input(backbone) >= 512
    for text in ("plain", "Ünïcödé 漢字 🙂", ""):
        assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]


def test_a_local_folder_is_a_model(tmp_path):
    backbone, tokenizer = load(compose([]).model, labels=2)
    backbone.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again, _ = load(compose([f"model.name_or_path={tmp_path}"]).model, labels=2)
    ours, theirs = backbone.state_dict(), again.state_dict()
    assert all((ours[name] == theirs[name]).all() for name in ours)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ranks.r_max=65"], "ranks.r_max: found 65, expected at most 64, the hidden width"),
        (["model=roberta-base", "ranks.r_max=9000"], "expected at most 768"),
        (["model.name_or_path=./nowhere"], "there is no folder './nowhere'"),
        (["model.name_or_path=package://no_such_package/m"], "'no_such_package' is not installed"),
        (["model.name_or_path=package://dylora_exp/nothing"], "there is no model in folder"),
    ],
)
def test_problems_show_before_loading(words, expected):
    (problem,) = model_problems(compose(words))
    assert expected in problem


def test_the_extra_that_brings_a_package_is_named():
    words = ["model=minilm", "model.name_or_path=package://no_such_package/model"]
    (problem,) = model_problems(compose(words))
    assert install_command("minilm") in problem


def test_full_fine_tuning_has_no_rank_to_be_too_large():
    assert (
        model_problems(
            compose(["ranks.r_max=9000", "method=finetune"], shared=["ranks.r_max=9000"])
        )
        == []
    )


def test_a_damaged_config_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    (problem,) = model_problems(compose([f"model.name_or_path={tmp_path}"]))
    assert problem == f"{tmp_path / 'config.json'}: not valid JSON."
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no_such_type"}))
    with pytest.raises(RequestError, match="could not be loaded"):
        load(compose([f"model.name_or_path={tmp_path}"]).model, labels=2)


def test_a_target_that_the_model_lacks_is_named_with_the_nearest():
    with pytest.raises(RequestError, match="did you mean 'query'"):
        load(compose(["model.targets=[quary,value]"]).model, labels=2)


def test_a_hub_name_is_left_to_the_hub():
    model = compose(["model=roberta-base"]).model
    assert resolve(model) == "roberta-base"
    with pytest.raises(RequestError, match="dylora models fetch roberta-base --to DIR"):
        load(model, labels=2)


def test_a_model_without_positions_takes_any_length():
    config = compose(
        ["model=gpt2", "model.pretrained=false", "model.fused=null", "model.overrides=null"]
    )
    config.model.config = {"model_type": "bloom", "hidden_size": 32, "n_layer": 1, "n_head": 2}
    config.model.targets = ["query_key_value"]
    backbone, _ = load(config.model, labels=2)
    assert longest_input(backbone) > 10**6
