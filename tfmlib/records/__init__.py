"""Results of runs too long for a chapter, stored with their settings."""
