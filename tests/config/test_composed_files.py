"""What Hydra composed, kept for the next command: as Hydra has it, and not believed if damaged."""

import json
import shutil

import pytest
from omegaconf import OmegaConf

from dylora_exp.config import composed_files, composition
from dylora_exp.config.composed_files import find_composed, keep_composed
from dylora_exp.config.composition import compose
from dylora_exp.config.profile_differences import _expected, profile_differences
from dylora_exp.config.run_identity import identity

MINI = ("profile=mini", "model=minilm", "task=sst2", "method=lora")
NLG = ("profile=mini-nlg", "method=dylora")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DYLORA_CACHE", str(tmp_path / "cache"))
    forget()
    yield tmp_path / "cache" / "configs"
    forget()


def forget():
    """As another process begins."""
    composition._compose_files.cache_clear()
    composition._standard.cache_clear()


def files(folder):
    return {path: path.read_bytes() for path in folder.glob("*")}


@pytest.mark.parametrize("choices", [MINI, NLG, (), ("task=piqa", "method=qdylora")])
def test_what_is_kept_is_what_hydra_composes(folder, choices):
    by_hydra, chosen = composition._compose_files(choices, ())
    forget()
    kept, kept_chosen = composition._compose_files(choices, ())
    assert find_composed(choices) is not None
    assert kept is not by_hydra and kept == by_hydra and kept_chosen == chosen
    assert OmegaConf.to_yaml(kept) == OmegaConf.to_yaml(by_hydra)
    assert OmegaConf.is_struct(kept) and OmegaConf.is_struct(by_hydra)


def test_the_second_command_does_not_ask_hydra(folder, monkeypatch):
    first = compose(MINI)
    forget()
    monkeypatch.setattr(composition, "hydra_compose", lambda *_: pytest.fail("asked again"))
    assert compose(MINI) == first
    assert compose([*MINI, "seed=3"]).seed == 3


def of_another_combination(path):
    others = [each for each in path.parent.glob("*.json") if each != path]
    return others[0].read_bytes()


def with_another_rate(path):
    text = path.read_text().replace("0.002", "0.003")
    assert text != path.read_text()
    return text.encode()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: b"",
        lambda path: path.read_bytes()[:-7],
        lambda path: b"[]",
        lambda path: b"\xff\xfe",
        lambda path: b"[" * 100_000,
        lambda path: json.dumps({"composed": "{}", "sha256": "0" * 64}).encode(),
        with_another_rate,
        of_another_combination,
    ],
)
def test_a_damaged_file_is_composed_anew(folder, damage):
    compose(NLG)
    others = set(files(folder))
    expected = compose(MINI)
    (path,) = set(files(folder)) - others
    good = path.read_bytes()
    path.write_bytes(damage(path))
    forget()
    assert find_composed(MINI) is None
    assert compose(MINI) == expected
    assert path.read_bytes() == good


def test_a_folder_in_its_place_or_none_at_all_does_no_harm(folder, tmp_path, monkeypatch):
    expected = compose(MINI)
    (path,) = files(folder)
    path.unlink()
    path.mkdir()
    forget()
    assert compose(MINI) == expected
    monkeypatch.setenv("DYLORA_CACHE", "/dev/null")
    forget()
    assert compose(MINI) == expected


def test_other_files_under_conf_are_another_name(folder, tmp_path, monkeypatch):
    compose(MINI)
    changed = tmp_path / "conf"
    shutil.copytree(composed_files.CONF_DIR, changed)
    (changed / "trainer" / "default.yaml").open("a").write("# another comment\n")
    before = composed_files._read_inputs()
    monkeypatch.setattr(composed_files, "CONF_DIR", changed)
    assert composed_files._read_inputs() != before


def test_files_that_change_while_hydra_reads_them_are_not_kept(folder, monkeypatch):
    tree, chosen = composition._compose_files(MINI, ())
    (path,) = files(folder)
    path.unlink()
    monkeypatch.setattr(composed_files, "_read_inputs", lambda: "changed")
    keep_composed(MINI, OmegaConf.to_container(tree), chosen)
    assert not files(folder)


def test_files_of_ones_own_and_what_the_environment_decides_are_not_kept(folder, tmp_path):
    own = tmp_path / "own" / "method"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("defaults: [lora]\nname: mine\nalpha: 4\n")
    assert compose(["method=mine"], [str(tmp_path / "own")]).method.alpha == 4
    keep_composed(("profile=demo",), {"outputs_dir": "${oc.env:HOME}"}, {})
    keep_composed(("method=mine",), {"seed": 1}, {})
    assert not files(folder)


def test_differences_from_the_profile_are_the_same_with_and_without_hydra(folder):
    choices = {"profile": "mini", "model": "minilm", "task": "sst2", "method": "lora"}
    run = identity(compose([*MINI, "trainer.learning_rate=0.5"]))
    found = []
    for kept in (True, False):
        _expected.cache_clear()
        assert (find_composed(MINI) is not None) == kept
        found.append(profile_differences(run, choices))
        shutil.rmtree(folder, ignore_errors=True)
    assert found[0] == found[1]
    assert [each.text for each in found[0]] == ["trainer.learning_rate=0.5"]


def test_no_more_are_kept_than_a_limit(folder, monkeypatch):
    monkeypatch.setattr(composed_files, "_MOST_FILES", 2)
    for task in ("sst2", "mrpc", "cola"):
        compose(["profile=mini", f"task={task}"])
    assert len(files(folder)) == 2
