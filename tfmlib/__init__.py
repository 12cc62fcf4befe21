"""tfmlib: the Transformer and its family in PyTorch, one module per chapter of the book."""

__version__ = "0.1.0"
