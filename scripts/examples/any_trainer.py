# %% [markdown]
# # DyLoRA in any trainer
#
# A LoRA made by stock PEFT is trained at a rank drawn anew for each step, once by
# `transformers.Trainer` and once by a plain PyTorch loop; then it is scored at every rank, and one
# rank is saved as an ordinary PEFT adapter. Everything is made in place: no download, no GPU, a few
# seconds. With a model of your own, leave out the next cell.
"""Train a stock PEFT LoRA for all ranks in a Trainer and in a loop, score it, save one rank."""

# %%
import tempfile
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

import dylora_exp

SHAPE = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2}
LORA = LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules="all-linear")


def tiny_llama() -> LlamaForCausalLM:
    """Return a Llama with random weights, the same at each call."""
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(vocab_size=32, **SHAPE, **HEADS))


def counting(count: int, seed: int) -> list[dict[str, torch.Tensor]]:
    """Return texts of 12 tokens that count up from a random start."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(0, 32, (count, 1), generator=generator)
    ids = (first + torch.arange(12)) % 32
    return [{"input_ids": row, "labels": row} for row in ids]


train_set, test_set = counting(1024, seed=0), counting(128, seed=1)
folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## 1. `transformers.Trainer`
#
# Two lines are new: the handle, and its callback. TRL's trainers take the same callback.

# %%
model = get_peft_model(tiny_llama(), LORA)
handle = dylora_exp.make_dynamic(model, ranks="uniform", seed=0)

arguments = TrainingArguments(
    output_dir=str(folder / "trainer"),
    max_steps=60,
    per_device_train_batch_size=32,
    learning_rate=5e-3,
    logging_steps=20,
    report_to=[],
    disable_tqdm=True,
    use_cpu=True,
)
trainer = Trainer(
    model,
    arguments,
    train_dataset=train_set,
    eval_dataset=test_set,
    callbacks=[dylora_exp.DynamicRanks(handle)],
)
trainer.train()

# %% [markdown]
# ## 2. A plain loop
#
# `handle.step()` before the first forward pass of each step. Forgetting it is an error at the
# second step, not a silent constant rank.

# %%
model = get_peft_model(tiny_llama(), LORA).train()
handle = dylora_exp.make_dynamic(model, dylora_exp.Ranks.of(8, "geometric", p=0.2), seed=0)

optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
batches = torch.utils.data.DataLoader(train_set, batch_size=32, shuffle=True)
for epoch in range(2):
    for batch in batches:
        handle.step()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    print(f"epoch {epoch + 1}: loss {loss.item():.3f}")

# %% [markdown]
# ## 3. Every rank, and one of them to keep
#
# `rank_curve` scores the trained model at each rank; any function of the model will do.


# %%
@torch.no_grad()
def test_loss(model: torch.nn.Module) -> float:
    """Return the mean loss over the test set."""
    batch = torch.utils.data.default_collate(test_set)
    return float(model(**batch).loss)


curve = dylora_exp.rank_curve(model, test_loss)
for rank, value in curve.items():
    print(f"rank {rank}: test loss {value:.3f}")

# %% [markdown]
# `set_rank` until told otherwise, `at_rank` for a while.

# %%
dylora_exp.set_rank(model, 2)
with dylora_exp.at_rank(model, 1):
    print(f"rank 1 for a while: {test_loss(model.eval()):.3f}")
print(f"rank 2 from now on: {test_loss(model.eval()):.3f}")

# %% [markdown]
# `save_rank` writes a plain PEFT adapter of that rank, which needs nothing of this project.

# %%
dylora_exp.save_rank(model, 2, folder / "rank-2")
loaded = PeftModel.from_pretrained(tiny_llama(), folder / "rank-2").eval()
print(f"rank 2 loaded by stock PEFT: {test_loss(loaded):.3f}")
