"""Beam search over distinct contexts, kept in a file from which a killed run resumes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedTokenizerBase

from dylora_exp.core import (
    TrainingDiverged,
    broadcast_from_main,
    gather,
    is_main_process,
    process_count,
    process_index,
    progress_bar,
    reading,
    write_atomically,
)
from dylora_exp.models import eager
from dylora_exp.objectives.decode_config import DecodeConfig, Stop


@dataclass(frozen=True)
class Decoded:
    """The texts of all contexts, in their order, and the seconds that decoding took."""

    texts: list[str]
    seconds: float


class NoRepeatedNgram(LogitsProcessor):
    """Forbids a token that would complete an n-gram which the generated text already holds.

    Unlike the processor of transformers it does not look at the prompt: a context may be copied.

    Args:
        size: n.
        prompt: The number of tokens of the (padded) prompts.
    """

    def __init__(self, size: int, prompt: int) -> None:
        self.size = size
        self.prompt = prompt

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores, (beams, vocabulary), with forbidden tokens at minus infinity."""
        generated = input_ids[:, self.prompt :]
        if generated.shape[1] < self.size:
            return scores
        ngrams = generated.unfold(1, self.size, 1)
        beginning = generated[:, generated.shape[1] - self.size + 1 :]
        again = (ngrams[:, :, :-1] == beginning[:, None]).all(dim=-1)
        row, index = again.nonzero(as_tuple=True)
        scores = scores.clone()
        scores[row, ngrams[row, index, -1]] = -torch.inf
        return scores


class FiniteScores(LogitsProcessor):
    """Raises ``TrainingDiverged`` for scores of a model's that no token could be chosen by."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores, (beams, vocabulary), as they are."""
        if scores.isnan().any() or scores.isposinf().any():
            raise TrainingDiverged("the model's outputs are not finite")
        return scores


def decode(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    settings: DecodeConfig,
    batch_size: int,
    file: Path,
    weights: str,
    title: str,
) -> Decoded:
    """Decode each prompt once, longest first, in batches.

    Every finished batch is a line of ``file`` with a digest of it; a later call with the same
    weights and prompts continues after the last line that is as it was written. Several processes
    take a batch each at a time, and the main one writes them down in the same order, so that their
    number may change in between.

    Args:
        model: A causal language model, its weights merged for the rank at hand.
        tokenizer: The model's.
        prompts: Token ids, the separator included.
        settings: Beams and limits.
        batch_size: Contexts, not beams.
        file: Where the texts are kept.
        weights: A digest of the trained weights; texts of others are thrown away.
        title: Of the progress bar.
    """
    order = sorted(range(len(prompts)), key=lambda index: (-len(prompts[index]), index))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    digest = hashlib.sha256(json.dumps([list(prompt) for prompt in prompts]).encode())
    head = json.dumps(
        {"weights": weights, "batch_size": batch_size, "contexts": digest.hexdigest()[:16]}
    )
    done = broadcast_from_main(lambda: _read(file, head, batches))
    seconds = sum(line["seconds"] for line in done)
    texts = {index: text for line in done for index, text in line["texts"]}
    bar = progress_bar(total=len(prompts), initial=len(texts), desc=title, unit="context")
    own, together = process_index(), process_count()
    with eager(model), _appending(file) as write:
        for first in range(len(done), len(batches), together):
            start = time.monotonic()
            found, error = [], None
            for batch in batches[first : first + together][own : own + 1]:
                try:
                    contexts = [prompts[index] for index in batch]
                    new = _decode_batch(model, tokenizer, contexts, settings)
                except TrainingDiverged as diverged:
                    error = diverged  # raised below, since the other processes wait in ``gather``
                    break
                found = list(zip(batch, new, strict=True))
            gathered = gather((error, found))
            if errors := [each for each, _ in gathered if each]:
                raise errors[0]
            lines = [pairs for _, pairs in gathered if pairs]
            each = (time.monotonic() - start) / len(lines)
            for pairs in lines:
                write(_line(head, [list(pair) for pair in pairs], each) + "\n")
                texts |= dict(pairs)
                seconds += each
                bar.update(len(pairs))
    bar.close()
    return Decoded([texts[index] for index in range(len(prompts))], seconds)


@contextlib.contextmanager
def _appending(file: Path) -> Iterator[Callable[[str], None]]:
    """Open a file to which the main process appends, so that a kill leaves what was appended."""
    if not is_main_process():
        yield lambda text: None
        return
    with file.open("a", encoding="utf-8") as stream:

        def write(text: str) -> None:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())

        yield write


def stop_tokens(tokenizer: PreTrainedTokenizerBase, stop: Stop = "blank_line") -> list[int]:
    """Return the tokens that end a text: the end token, and a blank line where it is one token.

    Args:
        tokenizer: The model's.
        stop: ``DecodeConfig.stop``; for ``end`` the end token alone.
    """
    if stop == "end":
        return [tokenizer.eos_token_id]
    blank = tokenizer.encode("\n\n", add_special_tokens=False)
    return [tokenizer.eos_token_id, *(blank if len(blank) == 1 else [])]


@torch.inference_mode()
def _decode_batch(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    settings: DecodeConfig,
) -> list[str]:
    """Return the best text of each prompt, which are padded on the left."""
    model.eval()
    device = next(model.parameters()).device
    width = max(map(len, prompts))
    end = tokenizer.eos_token_id
    ids = [[end] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    seen = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    processors: list[LogitsProcessor] = [FiniteScores()]
    if settings.no_repeat_ngram:
        processors.append(NoRepeatedNgram(settings.no_repeat_ngram, width))
    output = model.generate(  # type: ignore[operator]
        input_ids=torch.tensor(ids, device=device),
        attention_mask=torch.tensor(seen, device=device),
        do_sample=False,
        num_beams=settings.beams,
        max_new_tokens=settings.max_new_tokens,
        length_penalty=settings.length_penalty if settings.beams > 1 else None,
        eos_token_id=stop_tokens(tokenizer, settings.stop),
        pad_token_id=end,
        logits_processor=LogitsProcessorList(processors),
    )
    return [
        clean(str(tokenizer.decode(row, skip_special_tokens=True)), settings.stop)
        for row in output[:, width:].tolist()
    ]


def clean(text: str, stop: Stop = "blank_line") -> str:
    """Return a text up to its first blank line, on one line; for ``end`` the whole text."""
    if stop == "end":
        return text.strip()
    return " ".join(text.split("\n\n")[0].split())


def _line(head: str, texts: list[list[Any]], seconds: float) -> str:
    """Return the line of a batch; its digest is that of the file's first line and of the batch."""
    tree = {"texts": texts, "seconds": seconds}
    digest = hashlib.sha256((head + json.dumps(tree)).encode()).hexdigest()
    return json.dumps(tree | {"sha256": digest})


def _read(file: Path, head: str, batches: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """Return the lines of a file that begins with ``head``, and cut off all from a damaged one on.

    Args:
        file: Where texts are kept; it need not be there.
        head: The first line.
        batches: The indices of the prompts of each line.

    Raises:
        RequestError: When the file is there and cannot be read.
    """
    try:
        with reading(file):
            found = file.read_bytes().split(b"\n")[:-1]  # what has no newline was cut short
    except FileNotFoundError:
        found = []
    done: list[dict[str, Any]] = []
    if found[:1] == [head.encode()]:
        for line, batch in zip(found[1:], batches, strict=False):
            tree = _parsed(line, head, batch)
            if tree is None:
                break
            done.append(tree)
    kept = [head.encode(), *found[1 : len(done) + 1]]
    write_atomically(file, b"".join(line + b"\n" for line in kept))
    return done


def _parsed(line: bytes, head: str, batch: Sequence[int]) -> dict[str, Any] | None:
    """Return a line as it was written for a batch, None for any other."""
    try:
        tree: dict[str, Any] = json.loads(line)
        same = line == _line(head, tree["texts"], tree["seconds"]).encode()
        return tree if same and [index for index, _ in tree["texts"]] == list(batch) else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
