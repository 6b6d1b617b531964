"""The two Java programs behind METEOR, ROUGE-L and CIDEr, as pycocoevalcap ships them."""

from __future__ import annotations

import shutil
import subprocess
import weakref
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

# A line is a text to both programs, so nothing inside a text may end one.
_BREAKS = str.maketrans(dict.fromkeys("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029", " "))


class JavaError(Exception):
    """A metric that needs Java cannot be had; the message is a sentence that says why."""


@lru_cache(maxsize=8)
def ptb_tokenize(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return each text's Penn Treebank words, lower-cased, without punctuation, joined by spaces.

    All texts go through one process in their order: the tokenizer looks beyond a line's end where
    an abbreviation closes it. The last calls are remembered, so that a sweep tokenises its
    references once.

    Raises:
        JavaError: Without Java, or where the tokenizer fails.
    """
    from pycocoevalcap.tokenizer import ptbtokenizer

    # pycocoevalcap's own class hands the text over in a file beside its code, which may be
    # read-only; a pipe needs no file, and two processes cannot collide.
    jar = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
    command = [*_java(), "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer"]
    command += ["-preserveLines", "-lowerCase"]
    text = "\n".join(text.translate(_BREAKS) for text in texts).encode()
    try:
        done = subprocess.run(command, input=text, capture_output=True, check=True)
    except subprocess.CalledProcessError as error:
        raise JavaError(f"The PTB tokenizer failed: {_first_line(error.stderr)}.") from error
    except OSError as error:
        raise JavaError(f"Java cannot be started: {error.strerror}.") from error
    lines = done.stdout.decode().split("\n")
    if len(lines) < len(texts) or any(lines[len(texts) :]):
        raise JavaError(f"The PTB tokenizer made {len(lines)} lines of {len(texts)} texts.")
    marks = set(ptbtokenizer.PUNCTUATIONS)
    words = (line.rstrip().split(" ") for line in lines[: len(texts)])
    return tuple(" ".join(word for word in line if word not in marks) for line in words)


class Meteor:
    """METEOR 1.5 (English, normalised) in one Java process.

    The process takes seconds to start, so it starts with the first score and stays for the next
    ones, until ``close``, the end of the object or the end of Python.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
        """Return corpus METEOR, 0..1 (Denkowski and Lavie 2014).

        Args:
            predictions: One tokenised text for each item; an empty one scores 0.
            references: At least one tokenised text for each item.

        Raises:
            JavaError: Without Java, or where the process fails; the next call starts another.
        """
        process = self._process = self._process or self._start()
        try:
            pairs = zip(predictions, references, strict=True)
            statistics = [_request(process, "SCORE", *theirs, ours) for ours, theirs in pairs]
            _request(process, "EVAL", *statistics)
            # One score for each item comes before the one of all together.
            scores = [_read_line(process) for _ in statistics]
            return float(scores[-1])
        except BaseException:
            # What is left in the pipes would be taken for the next call's answers.
            self.close()
            raise

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._finalizer()
        self._process = None

    def _start(self) -> subprocess.Popen[bytes]:
        from pycocoevalcap.meteor import meteor

        jar = Path(meteor.__file__).with_name(meteor.METEOR_JAR)
        command = [*_java(), "-Xmx2G", "-jar", str(jar)]
        command += ["-", "-", "-stdio", "-l", "en", "-norm"]
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
        except OSError as error:
            raise JavaError(f"Java cannot be started: {error.strerror}.") from error
        self._finalizer = weakref.finalize(self, _stop, process)
        return process


def _request(process: subprocess.Popen[bytes], *fields: str) -> str:
    """Send METEOR one line and return the first line of the answer."""
    assert process.stdin is not None
    clean = (field.translate(_BREAKS).replace("|||", "").replace("  ", " ") for field in fields)
    try:
        process.stdin.write(f"{' ||| '.join(clean)}\n".encode())
        process.stdin.flush()
    except BrokenPipeError:
        pass  # _read_line finds out why
    return _read_line(process)


def _read_line(process: subprocess.Popen[bytes]) -> str:
    """Return the next line of METEOR's answer."""
    assert process.stdout is not None
    line = process.stdout.readline().decode().strip()
    if not line:
        process.kill()
        _, errors = process.communicate()
        raise JavaError(f"METEOR failed: {_first_line(errors)}.")
    return line


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    with process:  # closes the pipes and waits
        pass


def _java() -> list[str]:
    if path := shutil.which("java"):
        # By default Java's own warnings go where the answers are.
        return [path, "-XX:+DisplayVMOutputToStderr"]
    raise JavaError("There is no Java on the PATH; version 8 or later is needed.")


def _first_line(output: bytes) -> str:
    return (output.decode(errors="replace").strip().splitlines() or ["it said nothing"])[0]
