"""What the package runs on: devices, memory, files, signals, processes that share a network."""
