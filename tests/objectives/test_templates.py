"""Templates over rows, and prompts with what follows them as token ids."""

import pytest
from tokenizers import ByteLevelBPETokenizer
from transformers import PreTrainedTokenizerFast

from dylora_exp.config.composition import compose
from dylora_exp.core import (
    TemplateFlaw,
    evaluate_expression,
    expression_problem,
    render_template,
    template_problem,
)
from dylora_exp.core.errors import RequestError
from dylora_exp.objectives.choice import ChoiceTask
from dylora_exp.objectives.encoding import PairEncoder
from tests.support.small_gpt2 import END, LINES, small_tokenizer

ROW = {"q": "Who?", "c": {"text": ["a", "b"], "label": ["A", "B"]}, "#1 String": "x", "n": None,
       "row": "own", "long": "x1 y22"}  # fmt: skip


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("Q: {{ q }}\nA:\n", "Q: Who?\nA:\n"),
        ("{{ c.text[1] }}{% if none_such is defined %}!{% endif %}", "b"),
        ("{{ long | regex_replace('([a-z])(\\\\d+)', '\\\\2\\\\1') }}", "1x 22y"),
        ("{{ long | regex_findall('\\\\d+') | join('+') }}", "1+22"),
        ("{{ '<b>' }} {{ missing | default('none') }}", "<b> none"),
        ("{{ row }}", "own"),
    ],
)
def test_a_template_gives_a_text(template, expected):
    assert render_template(template, ROW) == expected


def test_columns_with_any_name():
    assert render_template("{{ row['#1 String'] }}", {"#1 String": "x"}) == "x"


@pytest.mark.parametrize("source", ["c.text", "{{ c.text }}", " {{c['text']}} "])
def test_an_expression_gives_a_value(source):
    assert evaluate_expression(source, ROW) == ["a", "b"]
    assert evaluate_expression("c.label.index('B')", ROW) == 1


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ quest }}", "there is no column 'quest' among q, c, #1 String, n, row, long"),
        ("{{ n }}", "a value in it is null"),
        ("{{ c.none }}", "'dict object' has no attribute 'none'"),
        ("{{ q + 3 }}", "TypeError"),
        ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__' of 'str' object is unsafe"),
        ("{{ long | regex_replace('(', '') }}", "missing ), unterminated subpattern"),
    ],
)
def test_a_row_that_does_not_go_with_a_template(template, expected):
    with pytest.raises(TemplateFlaw) as error:
        render_template(template, ROW)
    assert expected in str(error.value)


def test_wrong_syntax_is_said():
    assert "unexpected end of template" in template_problem("{{ q ")
    assert "No filter named 'nope'" in template_problem("{{ q | nope }}")
    assert "chunk after expression" in expression_problem("q q")
    assert template_problem("{{ q }}") is expression_problem("{{ q }}") is None
    changes = ["task=arc-easy", "task.prompt='{{ q '", "task.label='1 +'"]
    with pytest.raises(RequestError) as error:
        compose(changes)
    first, second = error.value.problems
    assert first.startswith("task.prompt: found '{{ q ', which is no template (")
    assert second.startswith("task.label: found '1 +', which is no expression (")
    with pytest.raises(RequestError, match=r"task.prompt: found nothing, a task of templates"):
        compose(["task=arc-easy", "task.prompt=null"])


@pytest.mark.parametrize(
    ("templates", "expected"),
    [
        ({"promt": "x"}, "task.hub.templates: 'promt' is not one of choices, completion, label, "
         "prompt; did you mean 'prompt'?"),
        ({"prompt": "{{ q "}, "task.hub.templates.prompt: found '{{ q ', which is no template ("),
        ({"label": ["x"]}, "task.hub.templates.label: found ['x'], expected a text."),
    ],
)  # fmt: skip
def test_the_templates_for_the_hub_are_checked_too(templates, expected):
    hub = {"path": "a/b", "templates": templates}
    metrics = {"metrics": ["accuracy"], "headline": "accuracy"}
    row = {"prompt": "{{ q }}", "choices": "c", "label": "l"}
    (sentence,) = ChoiceTask.model_validate({"hub": hub, **metrics, **row}).problems()
    assert sentence.startswith(expected)


def ids(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False)


def test_white_space_at_the_end_of_a_prompt_goes_to_what_follows():
    tokenizer = small_tokenizer()
    encoder = PairEncoder(tokenizer)
    prompt, rest = encoder.pair("is a  \n ", "pub")
    assert (prompt, rest) == (ids(tokenizer, "is a"), ids(tokenizer, "is a  \n pub")[len(prompt) :])
    assert encoder.context("is a  \n ") == prompt
    # Without a prompt, the beginning of a text is one.
    assert encoder.pair(" \n", "pub") == ([tokenizer.bos_token_id], ids(tokenizer, " \npub"))
    assert encoder.context("") == [tokenizer.bos_token_id]


def test_a_special_token_that_is_written_out_is_text():
    encoder = PairEncoder(small_tokenizer())
    prompt, rest = encoder.pair(f"A {END}", f" {END}B")
    assert 0 not in prompt + rest


def test_what_becomes_part_of_the_prompts_last_token_is_still_scored():
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(["ab"] * 9, 258, special_tokens=[END], show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token=END)
    assert len(ids(tokenizer, "ab")) == 1
    assert PairEncoder(tokenizer).pair("a", "b") == (ids(tokenizer, "a"), ids(tokenizer, "b"))


CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_the_chat_template_wraps_the_prompt():
    tokenizer = small_tokenizer()
    with pytest.raises(RequestError, match=r"task.chat_template: found true, but the model's tok"):
        PairEncoder(tokenizer, chat_template=True)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHAT
    encoder = PairEncoder(tokenizer, chat_template=True)
    start, end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    wrapped = f"<|im_start|>user\n{LINES[0]}<|im_end|>\n<|im_start|>assistant"
    prompt, rest = encoder.pair(LINES[0], "pub")
    assert prompt == ids(tokenizer, wrapped) == encoder.context(LINES[0])
    assert prompt + rest == ids(tokenizer, wrapped + "\npub")
    assert prompt.count(start) == 2 and prompt.count(end) == 1
    # Those in a message or in what follows are text; the template's own stay.
    prompt, rest = encoder.pair(f" <|im_end|>{LINES[0]} ", "<|im_start|>pub")
    assert (prompt + rest).count(start) == 2 and (prompt + rest).count(end) == 1
    text = tokenizer.decode(prompt + rest)
    assert text == (
        f"<|im_start|>user\n<|im_end|>{LINES[0]}<|im_end|>\n<|im_start|>assistant\n<|im_start|>pub"
    )
