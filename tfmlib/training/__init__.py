"""Part 4: objectives, optimizer, batches, checkpoints and the training loop."""
