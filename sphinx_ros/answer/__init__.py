"""What a query asks of the engine, and what the words of its answers mean in the picture."""
