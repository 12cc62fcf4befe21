"""Figures, interactive frames and source listings shared by all chapters."""
