"""The reference of settings: it is what the schema says today, and no sentence is left over."""

import re

from dylora_exp.config import known_keys
from scripts.make_config_reference import MEANINGS, PAGE, make_page, without_meaning


def test_the_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == make_page(), (
        "run python scripts/make_config_reference.py"
    )


def test_every_setting_has_a_meaning_and_every_meaning_a_setting():
    assert without_meaning() == []
    assert set(MEANINGS) <= set(known_keys())


def test_every_setting_is_on_the_page_once():
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    keys = [line.split("`")[1] for line in lines if re.match(r"\| `[^=`]+`", line)]
    assert set(MEANINGS) == set(keys)
    # Settings of one name that several methods or objectives have are in the section of each.
    assert all(key.startswith(("method.", "task.")) for key in keys if keys.count(key) > 1)
