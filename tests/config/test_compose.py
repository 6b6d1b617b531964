from pathlib import Path

import pytest
import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir

from dylora_exp.config.choices import CONF_DIR, CONFIG_GROUPS, options
from dylora_exp.config.composition import compose, from_hydra
from dylora_exp.config.overrides import check_overrides
from dylora_exp.core.errors import RequestError

CHOICES = [
    (path.parent.name, path.stem)
    for path in sorted(CONF_DIR.rglob("*.yaml"))
    if path.parent.name in CONFIG_GROUPS
]


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_choice_composes_and_bears_its_file_name(group, name):
    config = compose([f"{group}={name}"])
    chosen = getattr(config, group, None)  # experiment, debug: no setting
    if group == "profile":
        assert chosen == name
    elif hasattr(chosen, "name"):
        assert chosen.name == name


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_choice_says_what_it_is(group, name):
    lines = (CONF_DIR / group / f"{name}.yaml").read_text().splitlines()
    comment = lines[1] if lines[0].startswith("# @package") else lines[0]
    assert comment.startswith("# ")


def test_no_file_under_conf_is_left_out():
    folders = {path.relative_to(CONF_DIR).parts[0] for path in CONF_DIR.glob("*/*")}
    assert folders == {group for group, _ in CHOICES} | {
        *("table", "paper", "preset", "hydra", "tuned")
    }


@pytest.mark.parametrize(
    "words",
    [
        ["seed=3", "profile=mini", "task=mrpc", "trainer.learning_rate=0.1"],
        ["trainer.epochs=7", "method=lora", "model.targets=[query]", "profile=paper"],
        [
            "model.pretrained=false",
            "+model.config.hidden_size=64",
            "ranks=custom",
            "ranks.weights=[0.5,0.5,0,0,0,0,0,0]",
        ],
        ["task=e2e", "profile=demo-nlg", "task.decode.beams=2", "results_dir='a b'", "++seed=4"],
        [
            "method.score=[{truncation: svd, scale: alpha/r}]",
            "method=lora",
            "trainer.max_steps=null",
        ],
        ["tracker=wandb", "tracker.mode=offline", "outputs_dir=${results_dir}/o"],
    ],
)
def test_it_is_what_hydra_composes(words):
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        expected = from_hydra(hydra_compose("config", words))
    assert compose(words) == expected
    assert compose(words) == expected  # nothing stays from one run to the next


def test_the_command_line_wins_over_the_profile():
    config = compose(["profile=mini", "model=tiny-roberta", "trainer.epochs=7"])
    assert (config.model.name, config.trainer.epochs) == ("tiny-roberta", 7)


def test_the_paper_profile_holds_appendix_b():
    config = compose(["profile=paper"])
    trainer = config.trainer
    assert config.model.name_or_path == "roberta-base"
    assert config.model.targets == ["query", "value"]
    assert (config.ranks.r_max, config.ranks.distribution) == (8, "uniform")
    assert (config.method.alpha, config.method.dropout) == (16, 0)
    assert (trainer.learning_rate, trainer.epochs, trainer.batch_size) == (4e-4, 30, 32)
    assert (trainer.weight_decay, trainer.warmup_ratio, trainer.schedule) == (0.1, 0.06, "linear")
    assert (trainer.adam_beta1, trainer.adam_beta2, trainer.adam_epsilon) == (0.9, 0.999, 1e-8)
    assert (trainer.max_grad_norm, trainer.max_steps, config.task.max_length) == (1.0, None, 512)


@pytest.mark.slow
def test_paper_profile_holds_for_every_task_and_method():
    for task in options("task"):
        assert compose(["profile=paper", f"task={task}"]).task.max_length == 512
    for method in set(options("method")) - {"matryoshka", "matryoshka-released"}:
        assert compose(["profile=paper", f"method={method}"]).method.alpha == 16


@pytest.mark.parametrize(
    "word",
    ["method.scale=alpha/sqrt(b)", "method.scale='alpha/sqrt(b)'", 'method.scale="alpha/sqrt(b)"'],
)
def test_a_root_is_read_with_quotes_and_without(word):
    score = "method.score=[{truncation: leading, scale: alpha/sqrt(b)}]"
    config = compose([word, score])
    assert config.method.scale == config.method.score[0].scale == "alpha/sqrt(b)"


def problems(*words):
    with pytest.raises(RequestError) as error:
        compose(words)
    return error.value.problems


def test_problems_of_words_and_of_values_come_together():
    found = problems("task=mrcp", "seed=abc", "trainer.lr=1", "+new=1", "method.alpha=-1")
    assert len(found) == 5
    assert "did you mean 'mrpc'?" in found[0]
    assert "did you mean 'trainer.learning_rate'?" in found[1]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("seed", "'seed': cannot be read, expected key=value."),
        ("task.name=é", "expected key=value, a value with signs in quotes: task.name='\"é\"'."),
        ("=3", "'=3': cannot be read, expected key=value."),
        ("seed=[1", "'seed=[1': cannot be read, expected key=value"),
        ("seed=1,2", "seed: '1,2' names several values, add -m"),
        ("seed=${nothing}", "nothing"),
        ("profile=large", "profile: 'large' is not one of demo, demo-choice, demo-nlg, llm, mini"),
    ],
)
def test_wrong_words(word, expected):
    (problem,) = problems(word)
    assert expected in problem


def test_sweeps_are_checked_value_by_value():
    found, good = check_overrides(
        ["task=mrpc,mrcp,colla", "seed=1,2", "ranks=glob(*)"], multirun=True
    )
    assert [problem.split("'")[1] for problem in found] == ["mrcp", "colla"]
    assert good == ["seed=1,2", "ranks=glob(*)"]


def test_glue_tasks_are_described_for_hub_and_folder_alike():
    for name in options("task"):
        task = yaml.safe_load((Path(CONF_DIR) / "task" / f"{name}.yaml").read_text())
        if task["reader"] == "glue":
            assert len(task["hub"]["text"]) == len(task["tsv"]["text"])


@pytest.mark.parametrize("path", ["/tmp/данные", "~/rr", "a (b)/c", "it's", "C:\\x", "x=y"])
def test_any_path_is_read_as_it_stands(path):
    assert compose([f"task.data_dir={path}"]).task.data_dir == path
