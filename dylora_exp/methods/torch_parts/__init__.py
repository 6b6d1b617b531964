"""What methods put into a model or a Trainer: it needs torch, and is imported when they train."""
