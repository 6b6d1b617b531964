import pytest

from dylora_exp.core.errors import RequestError
from dylora_exp.tasks.files import Broken, check_columns, read_text
from dylora_exp.tasks.generation import parse_json

BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize("mark", [b"", BOM])
@pytest.mark.parametrize(
    ("content", "line"),
    [(b"\xe9", 1), (b"a\n\xe9", 2), (b"a\n\n\n\xe9\n", 4), ("é\n".encode() + b"\xff", 2)],
)
def test_a_line_that_is_not_utf8_is_named_with_or_without_a_bom(mark, content, line, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(mark + content)
    with pytest.raises(RequestError) as error:
        read_text(file)
    assert error.value.problems == [f"{file}:{line}: this line is not valid UTF-8."]


def test_a_bom_is_no_part_of_the_text(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(BOM + "é".encode())
    assert read_text(file)[0] == "é"


@pytest.mark.parametrize(
    ("columns", "is_header", "twice"),
    [
        (["text", "label", "label"], True, "label"),
        (["text", "label", "x", "x"], True, "x"),
        (["text", "label", "", ""], True, None),
        (["text", "label", "x", "x"], False, None),
        (["text", "text", "label"], False, "text"),
    ],
)
def test_a_column_that_is_there_twice_is_named(columns, is_header, twice):
    if twice is None:
        check_columns(columns, ["text", "label"], is_header)
        return
    with pytest.raises(Broken, match=f"the column '{twice}' is there twice"):
        check_columns(columns, ["text", "label"], is_header)


def test_a_key_that_is_there_twice_is_named():
    with pytest.raises(Broken, match="the key 'text' is there twice"):
        parse_json('[{"text": "a", "text": "b"}]')
