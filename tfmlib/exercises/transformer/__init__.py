"""Checkers for the exercises of part `transformer`."""
