"""DyLoRA and its rivals: train low-rank adapters once, score every rank."""
