"""Pretrains tiny-gpt2 on the inputs and texts of WebNLG (training) and DART, and saves it."""

import argparse
import shutil
import tempfile
from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    get_linear_schedule_with_warmup,
)

from dylora_exp.tasks.readers import dart, webnlg

FOLDER = Path(__file__).parents[1] / "dylora_exp" / "models" / "tiny-gpt2"
END = "<|endoftext|>"
VOCAB_SIZE = 2048
WINDOW = 320
LONGEST = 192
LEARNING_RATE = 2e-3
WARMUP_SHARE = 0.03
TOKENS_A_BATCH = 4096


def read_pairs(folder: Path) -> list[tuple[str, str]]:
    """Reads all pairs of input and text.

    Args:
        folder: Holds `webnlg/train` and a DART JSON file under `dart`.

    Returns:
        One pair for each text.
    """
    (dart_file,) = sorted((folder / "dart").glob("dart-v1.1.1-full-*.json"))
    entries = webnlg.READER.entries(folder / "webnlg" / "train") + dart.READER.entries(dart_file)
    return [(entry.context, text) for entry in entries for text in entry.texts]


def build_tokenizer(pairs: list[tuple[str, str]]) -> PreTrainedTokenizerFast:
    """Trains a byte-level BPE tokenizer with GPT-2's end token."""
    bpe = ByteLevelBPETokenizer()
    lines = [part for context, text in pairs for part in (context, " " + text)]
    bpe.train_from_iterator(lines, VOCAB_SIZE, special_tokens=[END], show_progress=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        bos_token=END,
        eos_token=END,
        pad_token=END,
        unk_token=END,
        model_max_length=WINDOW,
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> GPT2LMHeadModel:
    """Builds the model with random weights."""
    end = tokenizer.eos_token_id
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=WINDOW,
            n_embd=128,
            n_layer=4,
            n_head=4,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=end,
            eos_token_id=end,
            pad_token_id=end,
        )
    )


def batches(sequences: list[list[int]], generator: torch.Generator) -> list[list[list[int]]]:
    """Groups sequences of similar length into batches of about the same number of tokens."""
    noise = torch.rand(len(sequences), generator=generator).tolist()
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]) + 8 * noise[i])
    groups: list[list[list[int]]] = [[]]
    for index in order:
        if (len(groups[-1]) + 1) * len(sequences[index]) > TOKENS_A_BATCH:
            groups.append([])
        groups[-1].append(sequences[index])
    return [groups[i] for i in torch.randperm(len(groups), generator=generator).tolist()]


def padded(batch: list[list[int]], end: int) -> tuple[Tensor, Tensor]:
    """Returns token ids and targets; what follows a sequence's own end token does not count."""
    width = max(map(len, batch))
    ids = torch.tensor([row + [end] * (width - len(row)) for row in batch])
    targets = torch.tensor([row + [-100] * (width - len(row)) for row in batch])
    return ids, targets


def pretrain(
    model: GPT2LMHeadModel, sequences: list[list[int]], end: int, epochs: int, seed: int
) -> float:
    """Trains on the next token of input and text.

    Returns:
        The mean loss of the last epoch, in nats a token.
    """
    generator = torch.Generator().manual_seed(seed)
    plan = [batch for _ in range(epochs) for batch in batches(sequences, generator)]
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=0.01)
    schedule = get_linear_schedule_with_warmup(optimizer, int(WARMUP_SHARE * len(plan)), len(plan))
    losses = []
    progress = tqdm(plan, desc="pretraining", mininterval=10)
    for batch in progress:
        ids, targets = padded(batch, end)
        logits = model(ids).logits
        loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        progress.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
    last = losses[-len(plan) // epochs :]
    return sum(last) / len(last)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="webnlg/, dart/")
    parser.add_argument("--to", type=Path, default=FOLDER, metavar="DIR", help="where to save")
    parser.add_argument("--epochs", type=int, default=5, metavar="N", help="over all pairs")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of everything")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of torch")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    pairs = read_pairs(args.data)
    tokenizer = build_tokenizer(pairs)
    end = tokenizer.eos_token_id
    sequences = [
        [*tokenizer.encode(context), end, *tokenizer.encode(" " + text), end][:LONGEST]
        for context, text in pairs
    ]
    print(f"{len(pairs):,} pairs, {sum(map(len, sequences)):,} tokens", flush=True)
    model = build_model(tokenizer)
    loss = pretrain(model, sequences, end, args.epochs, args.seed)
    with tempfile.TemporaryDirectory(dir=args.to.parent) as place:
        # Half precision halves what the project carries; the model is used in single precision.
        model.half().save_pretrained(place)
        tokenizer.save_pretrained(place)
        args.to.mkdir(exist_ok=True)
        for file in Path(place).iterdir():
            shutil.copyfile(file, args.to / file.name)
    size = sum(file.stat().st_size for file in args.to.iterdir())
    print(f"{model.num_parameters():,} parameters, {size / 1e6:.2f} MB, loss {loss:.3f}")


if __name__ == "__main__":
    main()
