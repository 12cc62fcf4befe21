"""Part 3: encoder, decoder and the full Transformer."""
