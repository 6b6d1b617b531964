"""Fetching from publishers, played by files on this machine."""

import contextlib
import gzip
import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from dylora_exp.cli.entry import main
from dylora_exp.cli.fetch import FetchFailed, fetch
from dylora_exp.config.choices import options
from dylora_exp.config.composition import compose
from dylora_exp.config.run_identity import run_id
from dylora_exp.config.task_schema import PublishedFile, TaskConfig
from dylora_exp.core.errors import RequestError


def published(tmp_path, content=b"mr,ref\n", sha256=True):
    source = tmp_path / "source"
    source.write_bytes(content)
    digest = hashlib.sha256(b"mr,ref\n").hexdigest() if sha256 else None
    file = PublishedFile(name="e2e/devset.csv", url=source.as_uri(), sha256=digest)
    return TaskConfig(name="e2e", objective="generation", published=[file])


def left(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("known", [True, False])
def test_a_file_is_put_in_place_and_says_whether_it_was_checked(known, tmp_path):
    target = tmp_path / "data"
    ((path, checked),) = fetch(published(tmp_path, sha256=known), target)
    assert (path.read_bytes(), checked) == (b"mr,ref\n", known)
    assert left(target) == ["e2e/devset.csv"]


def test_what_is_there_and_right_is_not_fetched_again(tmp_path):
    task = published(tmp_path)
    fetch(task, tmp_path / "data")
    (tmp_path / "source").unlink()
    fetch(task, tmp_path / "data")


def test_what_is_there_and_damaged_is_fetched_again(tmp_path):
    task = published(tmp_path)
    ((path, _),) = fetch(task, tmp_path / "data")
    path.write_bytes(b"mr")
    fetch(task, tmp_path / "data")
    assert path.read_bytes() == b"mr,ref\n"


def test_another_file_than_expected_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(FetchFailed, match=r"its sha256 is .*, expected"):
        fetch(published(tmp_path, b"other"), tmp_path / "data")
    assert left(tmp_path / "data") == []


def test_a_file_that_cannot_be_had_is_one_sentence(tmp_path):
    task = published(tmp_path)
    (tmp_path / "source").unlink()
    with pytest.raises(FetchFailed, match="could not be fetched"):
        fetch(task, tmp_path / "data")
    assert left(tmp_path / "data") == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fetch", "e3e"], "did you mean 'e2e'?"),
        (["get", "e2e"], "data: 'get' is not one of fetch"),
        (["fetch", "mrpc"], "HF_HUB_OFFLINE: it is set, so the hub is not asked"),
    ],
)
def test_a_wrong_request_is_one_sentence(words, expected, tmp_path, capsys):
    assert main(["data", *words, "--to", str(tmp_path)]) == 2
    assert expected in capsys.readouterr().err


def test_every_task_that_is_generated_says_where_its_files_are():
    for name in options("task"):
        task = compose([f"task={name}"]).task
        if task.scored == "texts" and not task.data_dir:
            assert {file.url.split(":")[0] for file in task.published} == {"https"}
            assert all(file.name.startswith(f"{name}/") for file in task.published)


def test_what_comes_with_the_project_needs_no_fetching(tmp_path, capsys):
    assert main(["data", "fetch", "demo", "demo-e2e", "demo-webnlg", "--to", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count("comes with the project, there is nothing to fetch") == 3
    assert left(tmp_path) == []


def test_where_files_are_published_is_no_part_of_a_run():
    config = compose(["task=e2e"])
    before = run_id(config)
    config.task.published = []
    assert run_id(config) == before


DART = [{"tripleset": [["a", "B", "c"]], "annotations": [{"source": "x", "text": "A text."}]}]
RIGHT = json.dumps(DART).encode()


class Publisher(BaseHTTPRequestHandler):
    """Answers with what the test puts into the path, in ways that servers have."""

    answers: ClassVar[dict] = {}

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answers[self.path](self)

    def whole(self, body, code=200, **headers):
        self.send_response(code)
        for name, value in {"Content_Length": len(body), **headers}.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def drip(self, body=b"[", count=40):
        self.whole(b"", Content_Length=None)
        with contextlib.suppress(OSError):
            for _ in range(count):
                self.wfile.write(body)
                self.wfile.flush()
                time.sleep(0.1)


@pytest.fixture
def publisher(monkeypatch):
    """Return what fetches the answer of a function as a file of a task without a checksum."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Publisher)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr("dylora_exp.cli.download._SECONDS", 1.0)
    monkeypatch.setattr("dylora_exp.cli.download._MOST_BYTES", 1 << 20)

    def get(answer, folder, name="dart/dart-v1.1.1-full-train.json", reader="dart", texts=None):
        monkeypatch.setattr(Publisher, "answers", {"/file": answer})
        file = PublishedFile(name=name, url=f"{address}/file", texts=texts)
        task = TaskConfig(name=reader, objective="generation", reader=reader, published=[file])
        return fetch(task, folder)

    yield get
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "length", [len(RIGHT), "abc", "", "-5", None, "1e3", "٣", f"{len(RIGHT)}, {len(RIGHT)}"]
)
def test_a_length_that_is_no_number_is_not_needed(length, publisher, tmp_path):
    def answer(server):
        name = length.encode().decode("latin-1") if isinstance(length, str) else length
        server.whole(RIGHT, Content_Length=name)
        server.close_connection = True

    ((path, checked),) = publisher(answer, tmp_path / "data")
    assert (path.read_bytes(), checked) == (RIGHT, False)
    assert left(tmp_path / "data") == ["dart/dart-v1.1.1-full-train.json"]


WEBNLG = {"name": "webnlg/train.json", "reader": "webnlg"}
E2E = {"name": "e2e/trainset.csv", "reader": "e2e"}


@pytest.mark.parametrize(
    ("body", "file", "said"),
    [
        (b"<!DOCTYPE html><html>Sign in</html>", {}, "found an HTML page"),
        (b"\n <HTML><body>Sign in</body>", WEBNLG, "found an HTML page"),
        (gzip.compress(RIGHT, mtime=0), {}, r"found compressed data \(gzip\)"),
        (b"PK\x03\x04 and more", {}, r"found an archive \(zip\)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", {}, "a pointer of Git LFS"),
        (b'{"message": "Not Found"}', {}, "found no list"),
        (b'{"message": "Not Found"}', WEBNLG, "there is no list 'entries'"),
        (b'{"entries": []}', WEBNLG, "no examples"),
        (b"[]", {}, "no examples"),
        (b'[{"error": 1}]', {}, "there is no list 'tripleset'"),
        (b"", {}, "found an empty file"),
        (b" \n", {}, "found an empty file"),
        (RIGHT[:-9], {}, "the JSON is broken"),
        (b"\xff\xfe\x00", {}, "not valid UTF-8"),
        (b"name,text\r\na,b\r\n", E2E, "there is no column 'mr'"),
        (b"mr,ref\r\n", E2E, "no examples"),
        (b"404: Not Found", E2E, "there is no column 'mr'"),
    ],
)
def test_what_is_no_data_is_not_kept(body, file, said, publisher, tmp_path):
    with pytest.raises(FetchFailed, match=rf"/file: it is no file of task '\w+': .*{said}") as no:
        publisher(lambda server: server.whole(body), tmp_path / "data", **file)
    assert "\n" not in str(no.value) and str(tmp_path) not in str(no.value)
    assert left(tmp_path / "data") == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda server: server.whole(RIGHT, Content_Length=len(RIGHT) + 5), "cut short at"),
        (lambda server: server.whole(b"", 404), "Not Found"),
        (lambda server: server.whole(b"", 302, Location="/file"), "infinite loop"),
        (lambda server: server.whole(b"", 302, Location="file:///etc/passwd"), "Redirection to"),
        (lambda server: server.whole(b"", 302, Location="http://[bad"), "could not be fetched"),
        (lambda server: time.sleep(2), "0 bytes came within 1 seconds|timed out"),
        (lambda server: server.drip(), "bytes came within 1 seconds"),
        (lambda server: server.drip(b" " * 65536), "it is larger than 1,048,576 bytes"),
        (lambda server: server.whole(RIGHT, Content_Length=1 << 40), "it is larger than"),
        (lambda server: server.connection.close(), "could not be fetched"),
        (lambda server: server.wfile.write(b"nonsense\r\n\r\n"), "could not be fetched"),
        (
            lambda server: server.whole(
                b"5\r\n[{}", Content_Length=None, Transfer_Encoding="chunked"
            ),
            "could not be fetched|no file of task",
        ),
    ],
)
def test_a_server_that_does_not_answer_well_is_one_sentence(answer, said, publisher, tmp_path):
    with pytest.raises(FetchFailed, match=said) as failed:
        publisher(answer, tmp_path / "data")
    assert "\n" not in str(failed.value)
    assert left(tmp_path / "data") == []


def test_what_an_earlier_version_kept_and_what_a_kill_left_is_replaced(publisher, tmp_path):
    folder = tmp_path / "data" / "dart"
    (folder / ".fetch-killed").mkdir(parents=True)
    (folder / ".fetch-killed" / "part").write_text("half")
    (folder / "dart-v1.1.1-full-train.json").write_text("<html>Sign in</html>")
    publisher(lambda server: server.whole(RIGHT), tmp_path / "data")
    assert left(tmp_path / "data") == ["dart/dart-v1.1.1-full-train.json"]
    assert (folder / "dart-v1.1.1-full-train.json").read_bytes() == RIGHT


def test_another_version_of_a_file_is_told_by_the_number_of_its_texts(publisher, tmp_path):
    def answer(server):
        server.whole(RIGHT)

    with pytest.raises(FetchFailed, match="it has 1 texts, expected 62,659"):
        publisher(answer, tmp_path, texts=62659)
    publisher(answer, tmp_path, texts=1)


def test_a_folder_in_the_place_of_a_file_is_refused(publisher, tmp_path):
    (tmp_path / "dart" / "dart-v1.1.1-full-train.json").mkdir(parents=True)
    with pytest.raises(RequestError, match="a folder, expected a file"):
        publisher(lambda server: server.whole(RIGHT), tmp_path)
