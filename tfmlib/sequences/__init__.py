"""Part 1: why attention; baselines and the training loop `fit`."""
