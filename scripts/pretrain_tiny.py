"""Pretrains the demo's tiny RoBERTa on generated text and saves its encoder and tokenizer."""

import argparse
import json
from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import trange
from transformers import (
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaTokenizer,
    get_linear_schedule_with_warmup,
)

from dylora_exp.tasks import pretraining_text

FOLDER = Path(__file__).parents[1] / "dylora_exp" / "models" / "tiny-roberta"
SPECIAL_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
VOCAB_SIZE = 600
MAX_LENGTH = 512
REVIEWS = 20_000
BATCH_SIZE = 64
LEARNING_RATE = 2e-3
WARMUP_SHARE = 0.06
MASKED_SHARE = 0.15
IGNORED = -100


def build_tokenizer(texts: list[str]) -> RobertaTokenizer:
    """Trains a byte-level BPE tokenizer, which accepts any UTF-8 text without `<unk>`.

    Args:
        texts: Text to learn the merges from.

    Returns:
        A tokenizer that reads the first word like any other and adds `<s>` and `</s>`.
    """
    bpe = ByteLevelBPETokenizer(add_prefix_space=True)
    bpe.train_from_iterator(texts, VOCAB_SIZE, special_tokens=SPECIAL_TOKENS, show_progress=False)
    learned = json.loads(bpe.to_str())["model"]
    return RobertaTokenizer(
        vocab=learned["vocab"],
        merges=[tuple(pair) for pair in learned["merges"]],
        add_prefix_space=True,
        model_max_length=MAX_LENGTH,
    )


def build_model(tokenizer: RobertaTokenizer) -> RobertaForMaskedLM:
    """Builds the tiny model with random weights.

    Args:
        tokenizer: Source of the vocabulary size and the special tokens.

    Returns:
        The model with its masked-language-modelling head.
    """
    return RobertaForMaskedLM(
        RobertaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=128,
            max_position_embeddings=MAX_LENGTH + 2,
            type_vocab_size=1,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            bos_token_id=tokenizer.bos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def mask_words(
    ids: Tensor, tokenizer: RobertaTokenizer, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Hides a random share of the words.

    Args:
        ids: Token ids.
        tokenizer: Source of the mask and special tokens.
        generator: Source of randomness.

    Returns:
        The ids with masks, and the targets (`IGNORED` wherever nothing is hidden).
    """
    special = torch.isin(ids, torch.tensor(tokenizer.all_special_ids))
    hidden = (torch.rand(ids.shape, generator=generator) < MASKED_SHARE) & ~special
    return ids.masked_fill(hidden, tokenizer.mask_token_id), ids.masked_fill(~hidden, IGNORED)


def pretrain(model: RobertaForMaskedLM, tokenizer: RobertaTokenizer, steps: int, seed: int) -> None:
    """Trains on masked words plus the review's label.

    By masked words alone `<s>` carries nothing, and then low-rank adapters of the attention
    have nothing to work with.

    Args:
        model: The model, trained in place.
        tokenizer: Its tokenizer.
        steps: Number of optimizer steps.
        seed: Seed of the text, the batches and the masks.
    """
    texts, label_list = zip(*pretraining_text(REVIEWS, seed), strict=True)
    encoded = tokenizer(list(texts), padding=True, return_tensors="pt")
    labels = torch.tensor(label_list)
    label_head = nn.Linear(model.config.hidden_size, int(labels.max()) + 1)
    optimizer = torch.optim.AdamW([*model.parameters(), *label_head.parameters()], LEARNING_RATE)
    schedule = get_linear_schedule_with_warmup(optimizer, int(WARMUP_SHARE * steps), steps)
    generator = torch.Generator().manual_seed(seed)
    progress = trange(steps, desc="pretraining")
    for _ in progress:
        rows = torch.randint(len(labels), (BATCH_SIZE,), generator=generator)
        ids, targets = mask_words(encoded["input_ids"][rows], tokenizer, generator)
        output = model.roberta(ids, encoded["attention_mask"][rows]).last_hidden_state
        word_loss = F.cross_entropy(model.lm_head(output).flatten(0, 1), targets.flatten())
        label_loss = F.cross_entropy(label_head(output[:, 0]), labels[rows])
        optimizer.zero_grad()
        (word_loss + label_loss).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress.set_postfix(words=f"{word_loss:.2f}", label=f"{label_loss:.2f}", refresh=False)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=FOLDER, metavar="DIR", help="where to save")
    parser.add_argument("--steps", type=int, default=1000, metavar="N", help="optimizer steps")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of everything")
    args = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    tokenizer = build_tokenizer([text for text, _ in pretraining_text(REVIEWS, args.seed)])
    model = build_model(tokenizer)
    pretrain(model, tokenizer, args.steps, args.seed)
    model.roberta.save_pretrained(args.to)
    tokenizer.save_pretrained(args.to)
    size = sum(file.stat().st_size for file in args.to.iterdir())
    print(f"{args.to}: {model.roberta.num_parameters():,} parameters, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
