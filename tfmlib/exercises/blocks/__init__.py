"""Checkers for the exercises of part `blocks`."""
