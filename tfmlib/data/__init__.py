"""Small real data for the book and readers for parallel text."""
