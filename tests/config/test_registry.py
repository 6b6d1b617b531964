"""Methods and objectives are found by their classes, without torch and without a list of them."""

import os
import subprocess
import sys

import pytest

from dylora_exp.config.registry import implementations, method_kinds
from dylora_exp.config.schema import MethodSettings, TaskConfig

METHOD = """
from dylora_exp.config import MethodSettings
from dylora_exp.methods import Method


class TunedBiasSettings(MethodSettings):
    kind: str = "tuned_bias"
    share: float = 0.25


class TunedBias(Method):
    settings_class = TunedBiasSettings
"""


def run(code, *folders):
    path = os.pathsep.join([*map(str, folders), os.environ.get("PYTHONPATH", ""), os.getcwd()])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_configs_are_composed_and_checked_without_torch():
    code = """
import sys
from dylora_exp.config import compose, method_class, objective_class, options, run_id
for method in options("method"):
    config = compose([f"method={method}"])
    method_class(config.method.kind).problems(config)
for task in options("task"):
    config = compose([f"task={task}"])
    objective_class(config.task), run_id(config)
print(*(name for name in ("torch", "transformers", "peft", "datasets") if name in sys.modules))
"""
    assert run(code) == [""]


def test_a_method_of_another_package_is_a_module_and_a_yaml_file(tmp_path):
    (tmp_path / "tuned_bias.py").write_text(METHOD)
    info = tmp_path / "tuned_bias-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tuned-bias\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[dylora_exp.methods]\ntuned_bias = tuned_bias:TunedBias\n"
    )
    (tmp_path / "my conf" / "method").mkdir(parents=True)
    file = tmp_path / "my conf" / "method" / "tuned-bias.yaml"
    file.write_text("name: tuned-bias\nkind: tuned_bias\n")
    code = f"""
from dylora_exp.config import compose, options, run_id
from dylora_exp.core import RequestError
from dylora_exp.methods import make_method
folder = {str(tmp_path / "my conf")!r}
config = compose(["method=tuned-bias", "method.share=0.5"], [folder])
print(type(make_method(config)).__name__, config.method.share)
print(compose(["method=tuned-bias"], [folder]).method.share)
print(compose(["method=sorted-lora"], [folder]).method.share)
print(compose(["method=tuned-bias", f"hydra.searchpath=['{{folder}}']"]).method.name)
print("tuned-bias" in options("method", [folder]), run_id(compose([])))
try:
    compose(["method=tuned-bias", "method.update=row"], [folder])
except RequestError as error:
    print(error)
"""
    assert run(code, tmp_path) == [
        "TunedBias 0.5",
        "0.25",
        "0.8",
        "tuned-bias",
        "True 6b51a78595a8",
        "method.update: method 'tuned-bias' has no such setting, only dylora and sorted-lora have.",
    ]


@pytest.mark.parametrize("group", ["method", "task"])
def test_every_method_and_objective_has_settings_of_its_own(group):
    base = {"method": MethodSettings, "task": TaskConfig}[group]
    for tag, each in implementations(group).items():
        assert issubclass(each.settings_class, base), tag
        assert "settings_class" in vars(each)


def test_the_methods_of_the_package_are_found():
    assert method_kinds() == [
        *("distilled", "droplora", "dylora", "finetune", "flop", "imported", "lora"),
        *("lora_continued", "lora_squeeze", "matryoshka", "nested_dropout", "sorted_lora"),
    ]
