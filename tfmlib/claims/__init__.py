"""The verdict on each claim of the source notes, as a committed record."""
