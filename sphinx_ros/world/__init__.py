"""A simulated tabletop with exact ground truth: what the demonstration model learns and shows."""
