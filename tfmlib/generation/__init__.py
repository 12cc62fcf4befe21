"""Part 5: decoding, the key-value cache and translation."""
