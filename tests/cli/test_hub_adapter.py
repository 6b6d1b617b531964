"""An adapter on the hub: fetched when it is named, and found again without a network."""

import json
import os
import subprocess
import sys

import pytest

from tests.support.fake_hub import FakeHub, serving
from tests.support.stock_adapters import TINY_ROBERTA, train_stock
from tests.support.tiny_runs import FEW

COMMANDS = """
import json, sys
from dylora_exp.cli.entry import main
sys.exit(max(main(words) for words in json.loads(sys.argv[1])))
"""


def run(commands, **environment):
    command = [sys.executable, "-c", COMMANDS, json.dumps(commands)]
    environment = {**os.environ, **environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_an_adapter_is_fetched_from_the_hub(tmp_path):
    folder = train_stock(TINY_ROBERTA, tmp_path / "lora", r=2, target_modules=["query"])
    hub = FakeHub()
    commit = hub.add("model", "ann/lora", {f.name: f.read_bytes() for f in folder.iterdir()})

    def words(adapter, place, *more):
        places = [f"results_dir={tmp_path / place / 'r'}", f"outputs_dir={tmp_path / place / 'o'}"]
        return ["run", "method=imported", f"method.adapter={adapter}", *FEW, *places, *more]

    home, prepared = {"HF_HOME": str(tmp_path / "home")}, str(tmp_path / "prepared")
    with serving(hub) as address:
        commands = [words("ann/lora", "online"), ["models", "fetch", "ann/lora", "--to", prepared]]
        done = run(commands, HF_ENDPOINT=address, HF_HUB_OFFLINE="0", **home)
        assert done.returncode == 0, done.stderr
        done = run([words("ann/nothing", "none")], HF_ENDPOINT=address, HF_HUB_OFFLINE="0", **home)
        assert done.returncode == 2
        assert "method.adapter: 'ann/nothing': the hub has no such model" in done.stderr
    commands = [
        words("ann/lora", "cached"),
        words("ann/lora", "prepared", f"hub_cache={prepared}"),
        words(folder, "local"),
    ]
    done = run(commands, HF_HUB_OFFLINE="1", **home)
    assert done.returncode == 0, done.stderr
    files = {
        place: next((tmp_path / place / "r" / "runs").glob("*.json"))
        for place in ("online", "cached", "prepared", "local")
    }
    assert len({file.name for file in files.values()}) == 1
    found = {k: json.loads(f.read_text())["training"]["imported"] for k, f in files.items()}
    assert {found[k]["folder"] for k in ("online", "cached", "prepared")} == {"ann/lora"}
    assert found["online"]["revision"] == commit
    assert found["local"]["folder"] == "lora"
    assert not (tmp_path / "none").exists()
