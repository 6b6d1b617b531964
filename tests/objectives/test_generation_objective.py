"""What a language model is trained on, character by character, and its loss."""

import math

import pytest
import torch
from datasets import Dataset
from torch import nn
from transformers import PreTrainedTokenizerFast

from dylora_exp.adapters.layers import factors, lora_layers
from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.methods.base import Batch, make_method
from dylora_exp.objectives.base import ObjectiveContext
from dylora_exp.objectives.generation import IGNORED, GenerationObjective
from dylora_exp.objectives.torch_parts.decoding import stop_tokens
from dylora_exp.tasks.base import TaskData, read
from tests.support.small_gpt2 import END, small_gpt2, small_tokenizer

# Three real examples of each task: context and text, as they stand in the sequence.
EXAMPLES = {
    "e2e": [
        (
            "name : The Punter | Type : coffee shop | food : Japanese | price : less than £20 | "
            "customer rating : average | family friendly : yes | near : Café Sicilia",
            "Located near Café Sicilia is The Punter coffee shop. It is a family friendly "
            "location that serves a variety of sushi.",
        ),
        (
            "name : Giraffe | Type : pub | food : Italian | area : riverside | "
            "family friendly : yes",
            "There is a child friendly pub called the Giraffe in the riverside area serving "
            "Italian food",
        ),
        (
            "name : Green Man | food : Indian | price : less than £20 | area : city centre | "
            "family friendly : no | near : All Bar One",
            "Green Man is an Indian restaurant that in the city centre. It is inexpensive and is "
            "not family friendly. It is near All Bar One.",
        ),
    ],
    "webnlg": [
        (
            "Adolfo_Suárez_Madrid–Barajas_Airport : location : Alcobendas | "
            "Alcobendas : country : Spain",
            "Adolfo Suárez Madrid Barajas Airport is found in Alcobendas, Spain.",
        ),
        (
            "AZ_Alkmaar : season : 2014 | AZ_Alkmaar : numberOfMembers : 17023",
            "AZ Alkmaar has 17023 members and played in the 2014 season.",
        ),
        (
            "Baked_Alaska : course : Dessert | Baked_Alaska : country : France | "
            "France : leaderName : Manuel_Valls | "
            "Dessert : dishVariation : Sandesh_(confectionery)",
            "Baked Alaska is a dessert originates from France and the country's leader is Manuel "
            "Valls. Sandesh is a nice confectionery dessert.",
        ),
    ],
    "dart": [
        (
            "Bandeja paisa : ingredient : Lemon | Lemon : genus : Citrus",
            "Lemon (genus; citrus) is an ingredient found in Bandeja paisa.",
        ),
        (
            '3Arena : location : North Wall, Dublin | 3Arena : architect : "HOK SVE"',
            "The 3Arena is located at North Wall, Dublin and was designed by HOK SVE.",
        ),
        (
            "Auron (comicsCharacter) : creator : Marv Wolfman",
            "Auron was created by Marv Wolfman.",
        ),
    ],
}


@pytest.fixture
def gpt2s_own(shared_data):
    file = shared_data / "tokenizer" / "gpt2_tokenizer.json"
    return PreTrainedTokenizerFast(tokenizer_file=str(file), eos_token=END)


def with_dart_training(shared_data, folder):
    """Only DART's development file is here; it stands for the training file, too."""
    (source,) = (shared_data / "dart").glob("*-dev.json")
    for split in ("train", "dev"):
        (folder / f"dart-v1.1.1-full-{split}.json").symlink_to(source)
    return folder


@pytest.mark.parametrize("task", EXAMPLES)
def test_real_examples_character_by_character(task, gpt2s_own, shared_data, tmp_path):
    folder = with_dart_training(shared_data, tmp_path) if task == "dart" else shared_data
    words = ["task.eval_split=dev", "task.max_train_samples=3", "task.max_eval_samples=1"]
    config = compose(["model=gpt2", f"task={task}", f"task.data_dir={folder}", *words])
    objective = GenerationObjective(ObjectiveContext(config, gpt2s_own, 1024, read(config.task)))
    for row, (context, text) in zip(objective.train_set, EXAMPLES[task], strict=True):
        ids, labels = row["input_ids"], row["labels"]
        assert row["length"] == len(ids) == len(labels)
        assert gpt2s_own.decode(ids) == f"{context}{END} {text}{END}"
        counted = [label != IGNORED for label in labels]
        start = counted.index(True)
        assert counted == [False] * start + [True] * (len(ids) - start)
        assert labels[start:] == ids[start:]
        assert gpt2s_own.decode(ids[:start]) == f"{context}{END}"
        assert gpt2s_own.decode(labels[start:]) == f" {text}{END}"
        assert [place for place, token in enumerate(ids) if token == 50256] == [
            start - 1,
            len(ids) - 1,
        ]


def test_gpt2s_blank_line_is_one_token(gpt2s_own):
    assert stop_tokens(gpt2s_own) == [50256, 628]


def test_gpt2s_token_ids_of_a_short_example(gpt2s_own):
    (row,) = make_objective(gpt2s_own, [("name : A", "It is.")]).train_set
    # name, space-colon, space-A, end, space-It, space-is, full stop, end
    assert row["input_ids"] == [3672, 1058, 317, 50256, 632, 318, 13, 50256]
    assert row["labels"] == [IGNORED] * 4 + [632, 318, 13, 50256]


def make_objective(tokenizer, pairs, *words, window=256):
    config = compose(["model=tiny-gpt2", "task=e2e", *words])
    train = [{"context": context, "text": text} for context, text in pairs]
    scored = [
        {"context": c, "references": [t], "category": "", "seen": True, "where": f"file:{line}"}
        for line, (c, t) in enumerate(pairs, 2)
    ]
    data = TaskData(Dataset.from_list(train), Dataset.from_list(scored), [], [])
    return GenerationObjective(ObjectiveContext(config, tokenizer, window, data))


PAIRS = [("name : The Punter | Type : pub", "The Punter is a pub."), ("A : is : B", "B."),
         ("name : Pub", "The pub is The Punter, a pub.")]  # fmt: skip


def reference_loss(logits, labels, smoothing):
    """Term by term, in double precision."""
    total, count = 0.0, 0
    for row, wanted in zip(logits.double(), labels.tolist(), strict=True):
        for place in range(len(wanted) - 1):
            if wanted[place + 1] != -100:
                scores = row[place].tolist()
                norm = math.log(sum(map(math.exp, scores)))
                nll = [norm - score for score in scores]
                spread = sum(nll) / len(nll)
                total += (1 - smoothing) * nll[wanted[place + 1]] + smoothing * spread
                count += 1
    return total / count


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_mean_over_the_tokens_of_the_texts(smoothing):
    tokenizer = small_tokenizer()
    objective = make_objective(tokenizer, PAIRS, f"trainer.label_smoothing={smoothing}")
    model = small_gpt2(tokenizer)
    rows = list(objective.train_set)
    batch = objective.collate(rows)
    assert batch["attention_mask"].sum(dim=1).tolist() == [row["length"] for row in rows]
    assert len({row["length"] for row in rows}) == 3

    @torch.no_grad()
    def loss(batch):
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        logits = model(**inputs).logits
        ours = objective.loss(logits, batch["labels"]).item()
        assert ours == pytest.approx(reference_loss(logits, batch["labels"], smoothing), rel=1e-6)
        return ours

    together = loss(batch)
    counts = [sum(label != IGNORED for label in row["labels"]) for row in rows]
    alone = [loss(objective.collate([row])) for row in rows]  # without padding
    mean = sum(n * one for n, one in zip(counts, alone, strict=True)) / sum(counts)
    assert together == pytest.approx(mean, rel=1e-6)


def test_what_is_too_long_is_cut_at_the_end_and_may_leave_nothing_to_learn():
    tokenizer = small_tokenizer()
    whole = make_objective(tokenizer, PAIRS[:1]).train_set[0]
    cut = make_objective(tokenizer, PAIRS[:1], f"task.max_length={whole['length'] - 2}")
    assert cut.train_set[0]["input_ids"] == whole["input_ids"][:-2]
    assert cut.train_set[0]["labels"] == whole["labels"][:-2]
    short = make_objective(tokenizer, PAIRS[1:2], "task.max_length=200").train_set[0]
    room = f"task.max_length={short['length'] - 1}"
    with pytest.raises(RequestError, match="leaves no room for a text after any context"):
        make_objective(tokenizer, PAIRS[:1], room)
    beside = make_objective(tokenizer, PAIRS[:2], room)
    batch = beside.collate([beside.train_set[0]])
    logits = torch.randn(1, batch["labels"].shape[1], len(tokenizer), requires_grad=True)
    loss = beside.loss(logits, batch["labels"])
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("passes", [1, 4])
def test_nested_dropout_takes_the_mean_of_the_ranks_losses(smoothing, passes):
    tokenizer = small_tokenizer()
    objective = make_objective(
        tokenizer, PAIRS, "method=nested-dropout", "ranks.r_max=4",
        f"trainer.label_smoothing={smoothing}", f"method.examples_per_pass={12 // passes}",
    )  # fmt: skip
    method = make_method(objective.config)
    model = method.attach(small_gpt2(tokenizer)).eval()
    for layer in lora_layers(model):
        nn.init.normal_(factors(layer)[1])
    batch = objective.collate(list(objective.train_set))
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    with torch.no_grad():
        forward_passes = method.forward_passes(Batch(0, 0, 0, len(PAIRS)))
        summed = [method.loss(model, batch, objective.loss).item() for _ in forward_passes]
        single = []
        for rank in range(1, 5):
            method.mask.select(rank)
            logits = model(**inputs).logits
            single.append(reference_loss(logits, batch["labels"], smoothing))
    assert len(summed) == passes
    assert len({round(loss, 3) for loss in single}) == 4
    assert sum(summed) == pytest.approx(sum(single) / 4, rel=1e-6)


def test_the_divergence_of_texts_is_the_mean_over_their_tokens():
    tokenizer = small_tokenizer()
    objective = make_objective(tokenizer, PAIRS)
    labels = objective.collate(list(objective.train_set))["labels"]
    generator = torch.Generator().manual_seed(0)
    logits, target = (
        torch.randn(*labels.shape, 7, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    total, count = 0.0, 0
    for row in range(len(labels)):
        for position in range(labels.shape[1] - 1):
            if labels[row, position + 1] != -100:
                p, q = target[row, position].softmax(0), logits[row, position].softmax(0)
                total += (p * (p.log() - q.log())).sum().item()
                count += 1
    assert objective.divergence(logits, target, labels).item() == pytest.approx(total / count)
    assert objective.divergence(logits, target, torch.full_like(labels, -100)).item() == 0


def test_a_context_without_room_for_a_text_is_named():
    tokenizer = small_tokenizer()
    length = len(tokenizer.encode(PAIRS[0][0])) + 1
    make_objective(tokenizer, PAIRS, window=length + 64)
    with pytest.raises(RequestError) as error:
        make_objective(tokenizer, PAIRS[1:] + PAIRS, window=length + 63)
    assert error.value.problems == [
        f"file:4: the context has {length} tokens, expected at most {length - 1}: the model's "
        f"window of {length + 63} less the text's 64 (task.decode.max_new_tokens)."
    ]
    with pytest.raises(RequestError, match=r"max_new_tokens: found 64, expected fewer than the 64"):
        make_objective(tokenizer, PAIRS, window=64)


def test_a_reason_for_a_missing_metric_outlives_the_next_score(monkeypatch):
    objective = make_objective(small_tokenizer(), PAIRS, "task.metrics=[bleu]")

    def score(reasons):
        monkeypatch.setattr(objective.scorer, "score", lambda *_: {"bleu": None})
        monkeypatch.setattr(objective.scorer, "missing", reasons)
        objective._metrics(["a", "b", "c"])

    score({"meteor": "no memory"})
    score({})
    assert objective.scoring()["missing"] == {"meteor": "no memory"}


def test_the_record_says_how_texts_were_decoded():
    tokenizer = small_tokenizer()
    objective = make_objective(tokenizer, PAIRS, "task.metrics=[bleu]", "task.decode.beams=3")
    used = objective.scoring()["decoding"]
    assert used.pop("stop_tokens") == stop_tokens(tokenizer)
    assert used == objective.config.task.decode.model_dump()
    assert used["beams"] == 3


def test_an_end_token_that_is_written_out_is_text():
    tokenizer = small_tokenizer()
    (row,) = make_objective(tokenizer, [(f"A {END} B", f"is {END}.")]).train_set
    assert row["input_ids"].count(tokenizer.eos_token_id) == 2
