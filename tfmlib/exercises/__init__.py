"""Checkers for the exercises, and the machinery they share."""
