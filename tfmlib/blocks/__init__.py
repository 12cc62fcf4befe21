"""Part 2: the parts that every Transformer is built from."""
