"""Checkers for the exercises of part `generation`."""
