"""Metrics as ``evaluate.Metric`` modules that load without a network."""
