"""Many architectures against transformers and PEFT alone, from the run to what is exported.

Of each: an example's outputs and scores are those that it has by itself, in batches of any size and
order; merged adapters compute the same as adapters; every exported rank is, in a process without
this project, the model that the rank sweep scored; and of a fused layer the parts that are named
are adapted, and no others. What cannot be so is refused before anything is trained.
"""

import json
import random
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from dylora_exp.adapters.merging import merged
from dylora_exp.cli.entry import main
from dylora_exp.config.composition import compose
from dylora_exp.objectives.base import ObjectiveContext, make_objective
from dylora_exp.objectives.torch_parts.decoding import clean
from dylora_exp.runner import pipeline
from dylora_exp.runner.exporting import export
from dylora_exp.runner.run import run_if_needed
from tests.support import stock_peft
from tests.support.architectures import (
    DECODERS,
    ENCODERS,
    LANGUAGE_MODELS,
    OTHERS,
    QKV,
    save_base,
)

RUN = [
    "trainer.max_steps=3", "trainer.batch_size=4", "trainer.learning_rate=0.03",
    "trainer.schedule=constant", "trainer.warmup_ratio=0", "trainer.threads=1", "seed=3",
    "task.max_train_samples=12", "task.max_eval_samples=8", "ranks.r_max=3",
    "method.score=[{truncation: leading, scale: alpha/b}, {truncation: svd, scale: alpha/r}]",
]  # fmt: skip
TEXTS = ["task.metrics=[bleu]", "task.decode.beams=2", "task.decode.max_new_tokens=5",
         "task.decode.no_repeat_ngram=0", "task.max_eval_samples=4"]  # fmt: skip
# As ``task.decode`` says it in the words of transformers; 2 is the end token.
GENERATE = {"num_beams": 2, "max_new_tokens": 5, "length_penalty": 0.9, "do_sample": False,
            "pad_token_id": 2, "eos_token_id": 2}  # fmt: skip
TYPICAL = {"deberta-v2", "bart", "llama"}
TYPICAL_TEXTS = {"gpt2", "gpt_neox"}


def marked(names, typical):
    return [
        name if name in typical else pytest.param(name, marks=pytest.mark.slow) for name in names
    ]


@pytest.fixture(scope="module")
def ask():
    """Ask a process that does not know this project."""
    command = [sys.executable, stock_peft.__file__]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def answer(**job):
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            reply = json.loads(process.stdout.readline())
            assert "error" not in reply, reply["error"]
            return reply

        yield answer
        process.stdin.close()


@dataclass
class Sweep:
    """What the trained model computed, by the index of the cut and the tokens of an input.

    Attributes:
        logits: Of a class, or of the token that follows.
        texts: That were decoded.
        faults: Sentences about what differed.
    """

    logits: dict = field(default_factory=dict)
    texts: dict = field(default_factory=dict)
    faults: list = field(default_factory=list)

    def note(self, what, key, logits):
        """Keep logits, or compare them with those that are kept."""
        kept = self.logits.setdefault(key, logits)
        if not torch.allclose(kept, logits, rtol=1e-5, atol=1e-5):
            self.faults.append(f"{what}: {(kept - logits).abs().max():.1e} of {kept.abs().max()}")

    def inputs(self):
        return list(dict.fromkeys(tokens for _, tokens in self.logits))


def score_in_batches(sweep, scores, size, data, setting, model, method, folder):
    """Score all cuts again in batches of another size and order."""
    config = setting.config.model_copy(deep=True)
    config.trainer.eval_batch_size = size
    order = list(range(len(data.eval)))
    random.Random(size).shuffle(order)
    shuffled = replace(data, eval=data.eval.select(order))
    objective = make_objective(replace(setting, config=config, data=shuffled))
    (folder / "predictions").mkdir(parents=True)
    index = 0

    def seen(module, arguments, inputs, output):
        for ids, mask, logits in zip(
            inputs["input_ids"], inputs["attention_mask"], output.logits, strict=True
        ):
            sweep.note(f"batches of {size}", (index, tuple(ids[mask.bool()].tolist())), logits)

    is_labels = config.task.number_of_outputs is not None
    for index, cut in enumerate(method.cuts()):
        hook = model.register_forward_hook(seen, with_kwargs=True) if is_labels else None
        found = objective.score(model, method, cut, folder)
        if found.metrics != scores[index].metrics:
            sweep.faults.append(f"batches of {size}: {found.metrics}, not {scores[index].metrics}")
        if hook:
            hook.remove()
            continue
        name = f"{cut.truncation}-{cut.scale.replace('/', '')}-rank-{cut.rank}.jsonl"
        for line in (folder / "predictions" / name).read_text().splitlines()[1:]:
            for number, text in json.loads(line)["texts"]:
                key = index, tuple(objective.prompts[number])
                if sweep.texts.setdefault(key, text) != text:
                    sweep.faults.append(f"batches of {size}: {text!r}, not {sweep.texts[key]!r}")
    objective.close()


def compare_merged(sweep, inputs, model, method):
    """Compare adapters with merged adapters, each input alone."""
    for index, cut in enumerate(method.cuts()):
        with method.at_cut(model, cut), torch.no_grad():
            apart = [model(input_ids=torch.tensor([ids])).logits[0] for ids in inputs]
            with merged(model):
                together = [model(input_ids=torch.tensor([ids])).logits[0] for ids in inputs]
        for ids, one, other in zip(inputs, apart, together, strict=True):
            if not torch.allclose(one, other, rtol=1e-5, atol=2e-5):
                sweep.faults.append(f"merged at {cut}: {(one - other).abs().max():.1e}")
            sweep.note("alone", (index, tuple(ids)), one if one.dim() == 1 else one[-1])


def watched_run(config, monkeypatch):
    """Do a run, and look at the trained model while it is scored.

    Returns the outcome and what was seen.
    """
    sweep, loaded = Sweep(), []
    load_run, score_all_ranks = pipeline.load_run, pipeline.score_all_ranks

    def loading(*arguments):
        loaded.append(load_run(*arguments))
        return loaded[-1]

    def scoring(model, objective, method, folder):
        scores = score_all_ranks(model, objective, method, folder)
        data = loaded[-1].data
        window = 200 if config.task.number_of_outputs is None else objective.max_length
        setting = ObjectiveContext(config, objective.tokenizer, window, data)
        for size in (1, 3, 8):
            place = folder / f"batches of {size}"
            score_in_batches(sweep, scores, size, data, setting, model, method, place)
        compare_merged(sweep, getattr(objective, "prompts", sweep.inputs()), model, method)
        return scores

    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "load_run", loading)
        patched.setattr(pipeline, "score_all_ranks", scoring)
        return run_if_needed(config), sweep


def exported(outcome, config, truncation, place):
    """Export all ranks as adapters and merged, and return the folders of both."""
    results, outputs = Path(config.results_dir), Path(config.outputs_dir)
    return [
        export(
            outcome.record.run_id,
            "all",
            place / f"{truncation}-{kind}",
            results,
            outputs,
            truncation=truncation,
            merge=kind == "merged",
        )
        for kind in ("adapter", "merged")
    ]


def referee(name, architecture, words, place, ask, monkeypatch):
    """Train, score, export, and compare each rank with what a stock process computes."""
    base = save_base(architecture, place / "base")
    where = [f"results_dir={place / 'results'}", f"outputs_dir={place / 'outputs'}"]
    config = compose([*words[:1], *RUN, *base, *words[1:], *where])
    outcome, sweep = watched_run(config, monkeypatch)
    assert sweep.faults == []
    tokenizer = AutoTokenizer.from_pretrained(place / "base")
    inputs, cuts = sweep.inputs(), [(e.rank, e.truncation) for e in outcome.record.ranks]
    lowest, highest = cuts.index((1, "leading")), cuts.index((3, "leading"))
    low, high = (
        torch.stack([sweep.logits[index, tokens] for tokens in inputs])
        for index in (lowest, highest)
    )
    assert (high - low).abs().amax(dim=1).min() > 1e-3  # the ranks are different models
    assert high.std(dim=0).max() > 1e-3  # and the inputs are different
    labels = config.task.labels
    names_parts = QKV in architecture.fused.values()
    if names_parts and architecture.settings["model_type"] in ("bloom", "falcon"):
        names_parts = "own attention"
    job = {
        "kind": config.task.auto_model_class,
        "labels": len(labels),
        "base": str(place / "base"),
        "inputs": inputs,
        "generate": {} if labels else GENERATE,
    }
    for truncation in ("leading", "svd"):
        adapters, whole = exported(outcome, config, truncation, place)
        folders = [str(folder) for folder in adapters + whole]
        reply = ask(**job, folders=folders, parts=names_parts)
        if names_parts:
            named = {target.rpartition(".")[2] for target in architecture.targets}
            assert reply["parts"] == [part in named for part in QKV]
        for folder, found in zip(adapters + whole, reply["outputs"], strict=True):
            index = cuts.index((int(folder.name.removeprefix("rank-")), truncation))
            ours = torch.stack([sweep.logits[index, tokens] for tokens in inputs])
            torch.testing.assert_close(torch.tensor(found["logits"]), ours, rtol=1e-5, atol=1e-5)
            if folder in whole and labels:
                assert found["labels"] == labels
            if not labels:
                texts = [
                    tokenizer.decode(text, skip_special_tokens=True) for text in found["texts"]
                ]
                assert [clean(text) for text in texts] == [
                    sweep.texts[index, tokens] for tokens in inputs
                ]


@pytest.mark.parametrize("name", marked({**ENCODERS, **DECODERS}, TYPICAL))
def test_labels(name, tmp_path, ask, monkeypatch):
    architecture = {**ENCODERS, **DECODERS}[name]
    referee(name, architecture, ["task=demo"], tmp_path, ask, monkeypatch)


@pytest.mark.parametrize("name", marked({**DECODERS, **LANGUAGE_MODELS}, TYPICAL_TEXTS))
def test_texts(name, tmp_path, ask, monkeypatch):
    architecture = {**DECODERS, **LANGUAGE_MODELS}[name]
    referee(name, architecture, ["task=demo-e2e", *TEXTS], tmp_path, ask, monkeypatch)


DEPENDS = "would depend on the other examples of its batch"
NOT_BLOCKS = ", in this order, of the outputs of"
FUSED = {
    "gpt_neox": (DECODERS, "query_key_value", ["v", "k", "q"]),
    "bloom": (DECODERS, "query_key_value", ["k", "q", "v"]),
    "falcon": (DECODERS, "query_key_value", ["v", "q", "k"]),
    "gpt_bigcode": (DECODERS, "c_attn", ["q", "v", "k"]),
    "codegen": (LANGUAGE_MODELS, "qkv_proj", QKV),
    "persimmon": (OTHERS, "query_key_value", QKV),
    "deberta": (ENCODERS, "in_proj", QKV),
    "gpt2": (DECODERS, "c_attn", ["k", "q", "v"]),
    "phi3": (DECODERS, "qkv_proj", ["q", "v", "k"]),
    "modernbert": (ENCODERS, "Wqkv", ["v", "k", "q"]),
}
TASKS = {"labels": ["task=demo"], "texts": ["task=demo-e2e", *TEXTS]}


def refusal(architecture, task, place, capsys, *words):
    """Return the sentence with which a run is refused before anything is written."""
    base = save_base(architecture, place / "base")
    where = [f"results_dir={place / 'results'}", f"outputs_dir={place / 'outputs'}"]
    capsys.readouterr()
    code = main(["run", *TASKS[task][:1], *RUN, *base, *TASKS[task][1:], *where, *words])
    lines = capsys.readouterr().err.splitlines()
    problems = [line for line in lines if line.startswith("dylora: ")]
    assert (code, len(problems)) == (2, 1)
    assert not list(place.glob("results/runs/*.json"))
    assert not list(place.glob("outputs/*/*"))
    return problems[0]


@pytest.mark.parametrize(
    ("name", "task", "expected"),
    [
        ("fnet", "labels", DEPENDS),
        ("nystromformer", "labels", DEPENDS),
        ("convbert", "labels", DEPENDS),
        ("xlnet", "texts", DEPENDS),
        ("rwkv", "texts", DEPENDS),
        ("squeezebert", "labels", "is of type Conv1d, only linear layers"),
        ("mra", "labels", "no layer among them has any effect"),
        ("canine", "labels", "of type canine has no embeddings of tokens"),
        ("ibert", "labels", "PEFT refuses them"),
        ("reformer", "labels", "could not be loaded: If training, make sure"),
        ("led", "labels", "transformers has no classifier of texts of type led"),
        ("mamba", "labels", "transformers has no classifier of texts of type mamba"),
        ("t5", "texts", "an encoder with a decoder (t5), whose decoder alone cannot generate"),
        ("bart", "texts", "an encoder with a decoder (bart), whose decoder alone cannot"),
        ("bert", "texts", "is an encoder (bert), which cannot generate texts"),
    ],
)
def test_what_cannot_be_right_is_refused(name, task, expected, tmp_path, capsys):
    architecture = {**ENCODERS, **DECODERS, **LANGUAGE_MODELS, **OTHERS}[name]
    assert expected in refusal(architecture, task, tmp_path, capsys)


@pytest.mark.parametrize("name", FUSED)
def test_parts_that_are_none_are_refused(name, tmp_path, capsys):
    known, layer, parts = FUSED[name]
    targets = [f"{layer}.{parts[-1]}"]
    architecture = replace(known[name], targets=targets, fused={layer: parts})
    task = "texts" if name == "codegen" else "labels"
    assert NOT_BLOCKS in refusal(architecture, task, tmp_path, capsys)


def test_a_layer_whose_weight_is_read_past_its_adapter_is_refused(tmp_path, capsys):
    mamba = LANGUAGE_MODELS["mamba"]
    alone, beside = (
        refusal(replace(mamba, targets=targets), "texts", tmp_path / targets[0], capsys)
        for targets in (["dt_proj"], ["in_proj", "dt_proj"])
    )
    assert "no layer among them has any effect" in alone
    assert "reads the weight of a layer among them past the layer" in beside


def test_a_weight_that_is_read_past_its_layer_is_found_in_low_precision(tmp_path, capsys):
    architecture = replace(LANGUAGE_MODELS["mamba"], targets=["in_proj", "dt_proj"])
    found = refusal(architecture, "texts", tmp_path, capsys, "model.dtype=bfloat16")
    assert "reads the weight of a layer among them past the layer" in found


def test_a_model_that_enlarges_its_rounding_is_trained_in_low_precision(tmp_path):
    """Random adapters once seemed to have another effect where they are merged, by rounding."""
    llama = DECODERS["llama"]
    settings = llama.settings | {"num_hidden_layers": 12, "initializer_range": 0.8}
    base = save_base(
        replace(llama, settings=settings, published="AutoModelForCausalLM"), tmp_path / "base"
    )
    where = [f"results_dir={tmp_path / 'results'}", f"outputs_dir={tmp_path / 'outputs'}"]
    words = [*TASKS["texts"][:1], *RUN, *base, *TASKS["texts"][1:], "ranks=per-example"]
    assert main(["run", *words, "model.dtype=bfloat16", "method=dylora", *where]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", {**ENCODERS, **DECODERS})
def test_low_precision_is_trained_where_single_is(name, tmp_path, capsys):
    """And refused with the same sentence: bfloat16 must neither hide nor make up a fault."""
    words = ["trainer.max_steps=2", "ranks=per-example", "ranks.score=[1]", "method=dylora"]
    tasks = ["labels", "texts"] if name in DECODERS else ["labels"]
    for task in tasks:
        base = save_base({**ENCODERS, **DECODERS}[name], tmp_path / task / "base")
        given = [*TASKS[task][:1], *RUN, *base, *TASKS[task][1:], *words]
        outcomes = {}
        for dtype in ("float32", "bfloat16"):
            place = tmp_path / task / dtype
            where = [f"results_dir={place / 'results'}", f"outputs_dir={place / 'outputs'}"]
            code = main(["run", *given, f"model.dtype={dtype}", *where])
            lines = capsys.readouterr().err.splitlines()
            outcomes[dtype] = code, [line for line in lines if line.startswith("dylora: ")]
        assert outcomes["float32"][0] in (0, 2)
        if computes_in_bfloat16(tmp_path / task / "base"):
            assert outcomes["bfloat16"] == outcomes["float32"]
        else:
            code, (sentence,) = outcomes["bfloat16"]
            assert code == 2 and sentence.startswith("dylora: model.dtype: found bfloat16, in")


def computes_in_bfloat16(base):
    """Return whether transformers alone can call a model; some of its code mixes types."""
    model = AutoModelForSequenceClassification.from_pretrained(base, dtype=torch.bfloat16)
    try:
        model(input_ids=torch.tensor([[0, 7, 8, 9, 2]]))
    except RuntimeError:
        return False
    return True
