"""A small GPT-2 with random weights and a tokenizer of its own, made on the spot."""

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

END = "<|endoftext|>"
LINES = ["name : The Punter | Type : pub", " The Punter is a pub.\n\n", "A : is : B | B : is : C"]


def small_tokenizer() -> PreTrainedTokenizerFast:
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(LINES * 3, 300, special_tokens=[END], show_progress=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, bos_token=END, eos_token=END, pad_token=END
    )


def small_gpt2(tokenizer, **settings) -> GPT2LMHeadModel:
    """Weights are large, so that outputs depend on every token and no two beams are alike."""
    torch.manual_seed(0)
    end = tokenizer.eos_token_id
    shape = {"n_positions": 256, "n_embd": 32, "n_layer": 2, "n_head": 2, "initializer_range": 0.3}
    special = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end}
    config = GPT2Config(vocab_size=len(tokenizer), **{**shape, **special, **settings})
    return GPT2LMHeadModel(config).eval()


def save_small_gpt2(folder, **settings) -> None:
    tokenizer = small_tokenizer()
    small_gpt2(tokenizer, **settings).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
