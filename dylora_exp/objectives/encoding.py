"""Prompts and what follows them as token ids, the same in training and in scoring.

The ids are those of lm-evaluation-harness 0.4 (``TemplateLM._encode_pair``): white space at the end
of a prompt goes to what follows, both are encoded as one text, and what is longer than the prompt
alone is the continuation. Unlike there, a special token that is written out in a text is text.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from dylora_exp.core import RequestError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class _Piece(NamedTuple):
    """A part of a text; in markup, special tokens that are written out are such tokens."""

    text: str
    is_markup: bool


class PairEncoder:
    """Encodes prompts with the texts that follow them.

    Args:
        tokenizer: The model's.
        chat_template: Whether a prompt is the message of a user in the tokenizer's own template.

    Raises:
        RequestError: When the tokenizer has no such template.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, chat_template: bool = False) -> None:
        if chat_template and not tokenizer.chat_template:
            raise RequestError(
                "task.chat_template: found true, but the model's tokenizer has no chat template; "
                "choose an instruction-tuned model, or task.chat_template=false."
            )
        self._tokenizer = tokenizer
        self._is_chat = chat_template
        self._start = _leading_tokens(tokenizer)
        added = (token for token in tokenizer.added_tokens_decoder.values() if token.special)
        self._special = {*tokenizer.all_special_tokens, *(token.content for token in added)}

    def context(self, prompt: str) -> list[int]:
        """Return the ids of a prompt, as they stand before any text that follows it."""
        return self._context(_stripped(self._pieces(prompt))[0])

    def pair(self, prompt: str, continuation: str) -> tuple[list[int], list[int]]:
        """Return the ids of a prompt, at least one, and of the text that follows it."""
        pieces, space = _stripped(self._pieces(prompt))
        context = self._context(pieces)
        follows = _Piece(space + continuation, False)
        if not pieces:
            return context, self._encode([follows])
        whole = self._start_of(pieces) + self._encode([*pieces, follows])
        # What follows may have become part of the prompt's last token.
        return context, whole[len(context) :] or self._encode([follows])

    def _context(self, pieces: list[_Piece]) -> list[int]:
        if pieces:
            return self._start_of(pieces) + self._encode(pieces)
        beginning = self._tokenizer.bos_token_id
        return [self._tokenizer.eos_token_id if beginning is None else beginning]

    def _start_of(self, pieces: list[_Piece]) -> list[int]:
        """Return the tokens that the tokenizer begins a text with, where the markup has none."""
        start = str(self._tokenizer.decode(self._start)) if self._start else ""
        return [] if pieces[0].is_markup and pieces[0].text.startswith(start) else self._start

    def _pieces(self, prompt: str) -> list[_Piece]:
        if not self._is_chat:
            return [_Piece(prompt, False)]
        try:
            text = self._tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
            )
        except Exception as error:  # the template is the model's, and may raise anything
            raise RequestError(
                "task.chat_template: the tokenizer's chat template cannot be used "
                f"({type(error).__name__}: {first_line(error)})."
            ) from error
        assert isinstance(text, str)
        if not self._has_special(prompt):
            return [_Piece(text, True)]
        message = prompt if prompt in text else prompt.strip()
        before, found, after = text.partition(message)
        if not found:
            raise RequestError(
                "task.chat_template: the tokenizer's chat template changes a prompt that holds a "
                f"special token, so that the two cannot be told apart: '{prompt[:80]}'."
            )
        return [_Piece(before, True), _Piece(message, False), _Piece(after, True)]

    def _encode(self, pieces: list[_Piece]) -> list[int]:
        """Return the ids of pieces: of one text where nothing has to be kept apart."""
        is_markup = any(piece.is_markup for piece in pieces)
        if not any(self._has_special(text) for text, markup in pieces if not markup):
            return self._ids("".join(text for text, _ in pieces), is_markup)
        return [
            token
            for markup, group in groupby(pieces, lambda piece: piece.is_markup)
            for token in self._ids("".join(text for text, _ in group), markup)
        ]

    def _ids(self, text: str, is_markup: bool) -> list[int]:
        ids: list[int] = self._tokenizer.encode(
            text, add_special_tokens=False, split_special_tokens=not is_markup
        )
        return ids

    def _has_special(self, text: str) -> bool:
        return any(token in text for token in self._special)


def _stripped(pieces: list[_Piece]) -> tuple[list[_Piece], str]:
    """Return pieces without the white space at their end, and that white space."""
    kept, space = list(pieces), ""
    while kept:
        text, is_markup = kept.pop()
        bare = text.rstrip()
        space = text[len(bare) :] + space
        if bare:
            return [*kept, _Piece(bare, is_markup)], space
    return [], space


def _leading_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the special tokens that a tokenizer begins each text with."""
    text = "a"
    bare = tokenizer.encode(text, add_special_tokens=False)
    whole = tokenizer.encode(text)
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return list(whole[:start])
    return []
