"""Executors, a module each: they run jobs somewhere and yield how each ended."""
