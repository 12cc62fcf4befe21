"""The command line: python -m tfmlib."""
