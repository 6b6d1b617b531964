"""Backbones: from the hub, a local folder, an installed package, or built from a config alone."""
