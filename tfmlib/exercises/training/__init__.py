"""Checkers for the exercises of part `training`."""
