"""Every setting that is accepted changes the training or the scoring of a run, or says that it only
decides where and how fast a run is; what would change nothing is refused, and left out of the
identity of a run that has it from a multirun, a table or a search.

The settings are those of the schema: one that is new, and of which no other value follows from its
type, fails here until ``OTHERS`` has one.
"""

from __future__ import annotations

import gc
import hashlib
import itertools
import json
import shutil

import pytest

from dylora_exp.config.composition import compose
from dylora_exp.config.run_identity import is_identity, run_id
from dylora_exp.config.task_schema import DataFiles, RowFiles
from dylora_exp.core.errors import RequestError
from dylora_exp.records import summarise
from dylora_exp.runner import pipeline, preflight
from dylora_exp.runner.folder import run_folder
from dylora_exp.training import epoch_scores
from tests.support.settings import other_values, setting_keys

_FEW = ["trainer.max_steps=5", "task.max_train_samples=12", "trainer.batch_size=6"]
_RANKS = ["ranks.r_max=4", "ranks.score=[1,3]"]
METHODS = {
    "dylora": _RANKS,
    "lora": [*_RANKS, "method.score=[{truncation: leading, scale: alpha/b}]"],
    "nested-dropout": _RANKS,
    "matryoshka": _RANKS,
    "sorted-lora": [*_RANKS, "method.share=0.6", "ranks.sample_every=step", "ranks.sandwich=0"],
    "dylora-distilled": [*_RANKS, "ranks.sample_every=step"],
    "droplora": _RANKS,
    "lora-continued": [*_RANKS, "method.continue_share=0.2"],
    "lora-squeeze": [*_RANKS, "method.cut_at=[0.4]"],
    "finetune": [],
    "flop": ["method.target_sparsity=0.5"],
}
OBJECTIVES = {
    "classification": [*_FEW, "task.max_eval_samples=16"],
    "generation": [
        *["profile=demo-nlg", *_FEW, "task.max_eval_samples=3"],
        *["task.metrics=[bleu]", "task.decode.beams=3", "task.decode.max_new_tokens=16"],
    ],
}

# Where and how fast a run is: no part of its identity.
RESOURCES = {
    "results_dir": "a place",
    "outputs_dir": "a place",
    "hub_cache": "a place",
    "model.guessed": "what a guess said of the other settings of the model",
    "task.data_dir": "a place; the record holds the digests of the files",
    "task.published": "what data fetch fetches",
    "task.language": "for cards",
    "task.typical": "for plans",
    "tracker": "where curves go as well",
    "running": "whether to wait for another process",
    "model.extra": "the package to install, for a message",
    "trainer.eval_batch_size": "memory; scores do not depend on it",
    "trainer.save_steps": "how much a kill costs",
    "trainer.threads": "speed",
    "trainer.gradient_checkpointing": "memory; no bit of what is trained differs",
    "method.examples_per_pass": "memory; gradients add up",
    "ranks.tolerance": "a choice from the scores, which reports make anew",
}
# Accepted without an effect on a tiny run, each for a reason.
APART = {
    **dict.fromkeys(("profile", "model.name", "task.name", "method.name"), "a name in tables"),
    **dict.fromkeys(
        ("method.kind", "task.objective"), "chooses the class, whose settings these are"
    ),
    "task.broken_lines": "what becomes of broken examples; there are none",
    "task.label_range": "a check of numbers",
    "task.hub": "where the data lie",
    "task.tsv": "where the data lie",
    "model.revision": "a version on the hub",
    "model.config": "the architecture, where model.pretrained is false",
    "task.decode.stop": "this model writes no line breaks",
    "task.decode.length_penalty": "these texts all have as many tokens as they may",
    "model.name_or_path": "the model",
    "task.reader": "the data",
}
# A model that FLOP has halved in five steps writes nothing yet, however it is decoded.
OF_WRITTEN = ("task.decode.", "task.max_references")
# Other values where the schema does not say any, or says one that is too near to matter.
OTHERS = {
    "task.max_length": [8],
    "task.text": ["[first]", "[second]", "[first,second]"],
    "task.label": ["other"],
    "task.files.folder": ["others"],
    "task.files.train": ["[evaluation]", "[train,evaluation]"],
    "task.files.eval": ["[train]"],
    "task.data_files.train": ["ROWS/evaluation.csv"],
    "task.data_files.eval": ["ROWS/others/evaluation.csv"],
    "trainer.warmup_ratio": [0.9],
    "trainer.epochs": [1],
    "ranks.distribution": ["geometric"],
    "ranks.weights": ["[0.4,0.3,0.2,0.1]"],
    "ranks.score": ["[2]"],
    "ranks.values": ["[1,3]"],
    "model.targets": ["[query]", "[c_attn.q]", "[key,value]", "[c_attn]"],
    "model.head": ["[dense]"],
    "model.fused": ["{}", "{c_attn: [q, k]}"],
    "model.overrides": ["{hidden_dropout_prob: 0.3}", "{resid_pdrop: 0.3}", "{use_cache: false}"],
    "model.tokenizer": [f"package://dylora_exp/models/tiny-{name}" for name in ("gpt2", "roberta")],
    "task.labels": ["[positive, negative]", "[a, b]", "[a, b, c]"],
    "task.metrics": ["[accuracy, f1]", "[bleu, ter]"],
    "task.headline": ["f1", "ter"],
    "task.max_references": [1],
    "task.decode.max_new_tokens": [2],
    "task.decode.beams": [1],
    "task.decode.no_repeat_ngram": [1],
    "method.score": [
        "[{truncation: svd, scale: alpha/b}]",
        "[{truncation: leading, scale: alpha/r}]",
    ],
    "method.adapter": ["nowhere.pt"],
    "method.sort_again": ["[0.6]"],
    "method.share": [0.6],
    "method.cut_at": ["[0.8]"],
    "method.continue_share": [0.5],
    "method.target_parameters": [200000],
}
_ROWS = ["task.reader=rows", "task.text=[first]"]
_FILES = ["task.data_dir=ROWS", "task.files={train: [train], eval: [evaluation]}"]
_DATA_FILES = ["task.data_files={train: ROWS/train.csv, eval: ROWS/evaluation.csv}"]
# What must be said as well for a setting to be in force.
CONTEXTS = {
    **{f"task.{name}": [*_ROWS, *_DATA_FILES] for name in ("text", "label")},
    **{f"task.files.{name}": [*_ROWS, *_FILES] for name in RowFiles.model_fields},
    **{f"task.data_files.{name}": [*_ROWS, *_DATA_FILES] for name in DataFiles.model_fields},
    "trainer.epochs": ["trainer.max_steps=null", "trainer.epochs=3"],
    "trainer.warmup_ratio": ["trainer.warmup_steps=null"],
    "ranks.p": ["ranks=geometric"],
    "ranks.tail": ["ranks=geometric"],
    "ranks.weights": ["ranks=custom", "ranks.weights=[0.1,0.2,0.3,0.4]"],
    "ranks.sandwich": ["ranks.sample_every=example"],
    "ranks.values": ["ranks.score=[1]"],
    "method.loss_weights": ["ranks=geometric"],
    "task.headline": ["task.metrics=[accuracy,f1]", "task.max_eval_samples=13"],
}


@pytest.fixture(scope="module", autouse=True)
def no_collection():
    """Training collects garbage at its end, which takes longer than these trainings."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Return a function of overrides: the config and what comes out of it, or its problems."""
    folder = tmp_path_factory.mktemp("settings")
    rows = write_rows(folder / "rows")
    known: dict[str, object] = {}

    def outcome(words, shared=()):
        words, shared = (
            [each.replace("ROWS", str(rows)) for each in part] for part in (words, shared)
        )
        try:
            config = compose(
                [*words, f"results_dir={folder / 'r'}", f"outputs_dir={folder / 'o'}"],
                shared=shared,
            )
            if run_id(config) not in known:
                known[run_id(config)] = fingerprint(config)
            return config, known[run_id(config)]
        except RequestError as error:
            return None, error.problems

    return outcome


def write_rows(folder):
    """Write the files of a task of the reader ``rows``, twice with other texts, in a folder."""
    for place, shift in ((folder, 0), (folder / "others", 5)):
        place.mkdir()
        for name, count in (("train", 40), ("evaluation", 30)):
            lines = ["first,second,label,other"]
            for number in range(shift, count + shift):
                labels = [("negative", "positive")[number % by == 0] for by in (2, 3)]
                lines.append(",".join([f"text {number * 7}", f"{number} more words", *labels]))
            (place / f"{name}.csv").write_text("\n".join(lines))
    return folder


def fingerprint(config):
    """Return the trained weights, scores, predictions and summary of a run."""
    data = preflight.check(config)
    folder = run_folder(config)
    folder.mkdir(parents=True)
    try:
        run = pipeline.load_run(config, data)
        model, training, scores = pipeline.train_and_score(run)
        run.objective.close()
        digest = hashlib.sha256()
        for cut in run.method.cuts():  # each may have weights of its own
            with run.method.at_cut(model, cut):
                for name, parameter in sorted(model.named_parameters()):
                    if parameter.requires_grad:
                        digest.update(name.encode() + parameter.detach().float().numpy().tobytes())
        texts = [
            [json.loads(line).get("texts") for line in file.read_text().splitlines()]
            for file in sorted(folder.rglob("*.jsonl"))
        ]
        return (
            digest.hexdigest(),
            training.steps,
            [(each.rank, each.truncation, each.scale, each.metrics) for each in scores],
            [[each.metrics for each in epoch.ranks] for epoch in epoch_scores(folder, 5)],
            summarise(scores, config.task.headline, config.ranks.tolerance),
            [each.metrics[config.task.headline] for each in scores],
            [source["used"] for source in data.sources],
            texts,
        )
    finally:
        shutil.rmtree(folder)


def check(method, objective, key, outcomes):
    base = [*OBJECTIVES[objective], f"method={method}", *METHODS[method]]
    context = CONTEXTS.get(key, [])
    config, before = outcomes([*base, *context], context)
    if config is None:  # of another objective
        context = []
        config, before = outcomes(base)
    base += context
    field = setting_keys(config.method.kind, objective)[key]
    value = config
    for name in key.split("."):
        value = getattr(value, name, None)  # of a group that is not there, nothing
    others = OTHERS.get(key) or other_values(field, value)
    assert others, f"{key}: name another value in OTHERS, or why it is apart in APART"
    for other in others:
        shown = str(other).lower() if isinstance(other, bool) else other
        changed, after = outcomes([*base, f"{key}={shown}"], context)
        if changed is None:
            assert all("\n" not in problem for problem in after)
            if all(problem.startswith(f"{key}: it would change nothing") for problem in after):
                together = [*base, f"{key}={shown}"]
                assert run_id(compose(together, shared=together)) == run_id(config)
        elif run_id(changed) != run_id(config):
            assert after != before, f"{key}={shown} changes the run id and nothing else"


def cases():
    """Yield method, objective and key of all settings that must have an effect."""
    for method, objective in itertools.product(METHODS, OBJECTIVES):
        kind = compose([f"method={method}"]).method.kind
        for key in setting_keys(kind, objective):
            silent = method == "flop" and key.startswith(OF_WRITTEN)
            if is_identity(key) and key not in APART and not silent:
                yield method, objective, key


def is_fast(method, objective, key):
    """Return whether a case is one of those that every run of the tests has time for."""
    group = key.partition(".")[0]
    if (method, objective) == ("dylora", "classification"):
        return group in ("method", "ranks")
    return False


ALL = list(cases())


@pytest.mark.parametrize(("method", "objective", "key"), [case for case in ALL if is_fast(*case)])
def test_an_accepted_setting_has_an_effect(method, objective, key, outcomes):
    check(method, objective, key, outcomes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "objective", "key"), [case for case in ALL if not is_fast(*case)]
)
def test_an_accepted_setting_has_an_effect_everywhere(method, objective, key, outcomes):
    check(method, objective, key, outcomes)


def test_what_is_no_part_of_the_identity_is_named_with_its_reason():
    kinds = [compose([f"method={method}"]).method.kind for method in METHODS]
    keys = {key for kind in kinds for each in OBJECTIVES for key in setting_keys(kind, each)}
    assert {key for key in keys if not is_identity(key)} == set(RESOURCES)
    assert not set(APART) - keys and not set(OTHERS) - keys and not set(CONTEXTS) - keys


TINY = ["task.max_train_samples=8"]


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        (["model.revision=main"], "model.revision"),
        (["task.labels=[b,a]"], "task.labels"),
        (["task.label_range=[0,1]"], "task.label_range"),
        (["task.hub={path: x}"], "task.hub"),
        (["task.tsv={folder: x}"], "task.tsv"),
        (["task=sst2", "task.data_dir=/tmp", "task.hub.path=x"], "task.hub.path"),
        (["task=sst2", "task.tsv.folder=x"], "task.tsv.folder"),
        (["task.text=[a]"], "task.text"),
        (["task.label=a"], "task.label"),
        (["task.broken_lines=skip"], "task.broken_lines"),
        (["task=sst2", "task.text=[a]"], "task.text"),
        (["task=stsb", "task.label_range=[0,1]"], "task.label_range"),
        (["task=demo-choice", "task.broken_lines=skip"], "task.broken_lines"),
        (["task=boolq", "task.prompt=x"], "task.prompt"),
        (["task=arc-easy", "task.label=x"], "task.label"),
        (["task=boolq", "task.files.folder=x"], "task.files.folder"),
        (["model.pretrained=false", "model.drop_head=true"], "model.drop_head"),
        (["profile=demo-nlg", "model.drop_head=true"], "model.drop_head"),
        (["profile=demo-nlg", "trainer.warmup_ratio=0.1"], "trainer.warmup_ratio"),
        (
            ["method=flop", "method.target_parameters=1e5", "method.target_sparsity=0.5"],
            "method.target_sparsity",
        ),
    ],
)
def test_a_setting_without_effect_is_refused_in_one_sentence(words, refused):
    with pytest.raises(RequestError) as error:
        compose([*TINY, *words])
    (problem,) = [each for each in error.value.problems if each.startswith(f"{refused}:")]
    assert problem.startswith(f"{refused}: it would change nothing, ")


@pytest.mark.parametrize(
    "words",
    [
        ["task=demo", "task.text=[a]"],
        ["task=demo", "task.files.train=[a]"],
        ["task=demo", "task.data_files={train: a, eval: b}"],
        ["task=boolq", "task.prompt=x"],
        ["task=e2e", "task.tsv.folder=x"],
        ["task=e2e", "task.label_range=[0,1]"],
    ],
)
def test_what_is_of_another_reader_is_left_out_where_runs_share_it(words):
    with pytest.raises(RequestError) as error:
        compose(words)
    assert len(error.value.problems) == 1
    assert run_id(compose(words, shared=words)) == run_id(compose(words[:1]))


@pytest.mark.parametrize(
    "words",
    [
        ["task=boolq", "task.data_dir=DIR", "task.prompt=x"],
        ["task=boolq", "task.data_dir=DIR", "task.files.folder=x"],
        ["task=boolq", "task.broken_lines=skip"],
        ["task=stsb", "task.data_dir=DIR", "task.label_range=[0,1]"],
        ["task=demo-choice", "task.label=x"],
        ["task=gsm8k", "task.completion=x"],
    ],
)
def test_what_the_reader_uses_is_another_run(words):
    words = [each.replace("DIR", "/tmp") for each in words]
    assert run_id(compose(words)) != run_id(compose(words[:-1]))


def test_files_that_the_reader_of_a_task_of_ones_own_does_not_read_are_refused(tmp_path):
    """Else the run would be of other data than its task names."""
    (tmp_path / "task").mkdir()
    task = "defaults: [sst2, _self_]\ndata_files: {train: a.csv, eval: b.csv}\n"
    (tmp_path / "task" / "own.yaml").write_text(task)
    with pytest.raises(RequestError, match=r"^task.data_files: the reader glue has its own files"):
        compose(["task=own"], search_path=[str(tmp_path)])


@pytest.mark.parametrize(
    ("words", "found"),
    [(["profile=demo-nlg", "task.reader=demo"], "demo"), (["task.reader=e2e"], "e2e")],
)
def test_a_reader_of_other_answers_is_refused(words, found):
    with pytest.raises(RequestError, match=f"task.reader: found {found}, which reads"):
        compose(words)


def test_without_an_adapter_no_target_is_looked_for(tmp_path, outcomes):
    """A model whose layers have other names than those of model.targets is trained as a whole."""
    words = ["method=finetune", *OBJECTIVES["generation"]]
    config = compose([*words, f"outputs_dir={tmp_path}"])
    config.model.targets = ["q_lin"]
    assert fingerprint(config)[1] == 5
