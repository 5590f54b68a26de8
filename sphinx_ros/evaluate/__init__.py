"""Measuring a checkpoint: batched questions, scores against exact ground truth, tables."""
