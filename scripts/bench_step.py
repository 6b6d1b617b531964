"""Times a training step of each method against PEFT LoRA's, side by side on the same batch."""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from tqdm import trange

from dylora_exp.config import Ranks, compose
from dylora_exp.methods import make_method
from dylora_exp.models import load
from dylora_exp.runner import quiet_libraries

METHODS = {
    "lora": ["method=lora"],
    "dylora": ["method=dylora"],
    "dylora-frozen": ["method=dylora-frozen"],
    "dylora-frozen, strict": ["method=dylora-frozen", "method.freeze=strict"],
}


class Contestant:
    """A method with its model and optimizer, ready to take steps."""

    def __init__(self, words: list[str], model_name: str) -> None:
        self.config = compose([f"model={model_name}", *words])
        torch.manual_seed(0)
        backbone, _ = load(self.config.model, labels=2)
        self.method = make_method(self.config)
        self.model = self.method.attach(backbone).train()
        self.callbacks = self.method.callbacks(self.model)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        groups = self.method.optimizer_groups([{"params": trained}])
        self.optimizer = torch.optim.AdamW(groups, lr=1e-3)
        self.ranks = Ranks.from_config(self.config.ranks)

    def step(self, index: int, batch: dict[str, torch.Tensor]) -> float:
        """Take one optimizer step and return its seconds."""
        start = time.perf_counter()
        if self.method.mask is not None:
            self.method.mask.select(self.ranks.rank_of_step(0, index))
        self.model(**batch).loss.backward()
        for callback in self.callbacks:
            callback.on_pre_optimizer_step(None, None, None)
        self.optimizer.step()
        self.model.zero_grad()
        return time.perf_counter() - start


def main() -> None:
    """Print the median step of each method and its ratio to LoRA's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=32)
    arguments = parser.parse_args()
    quiet_libraries()
    ids = torch.randint(5, 300, (arguments.batch, arguments.tokens))
    batch = {"input_ids": ids, "labels": torch.randint(0, 2, (arguments.batch,))}
    contestants = {name: Contestant(words, arguments.model) for name, words in METHODS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for index in trange(arguments.steps + 2):
        for name, contestant in contestants.items():  # in turn, so that all meet the same noise
            seconds[name].append(contestant.step(index, batch))
    # The first steps warm up.
    medians = {name: statistics.median(times[2:]) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"{name:24} {1000 * median:8.1f} ms  {median / medians['lora']:.2f} x LoRA")


if __name__ == "__main__":
    main()
