"""What objectives do with tensors: it needs torch, and is imported when they are used."""
