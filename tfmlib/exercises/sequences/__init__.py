"""Checkers for the exercises of part `sequences`."""
