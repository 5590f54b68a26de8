"""Training the demonstration model from scratch on the simulated tabletop."""
