"""Teachers, and the candidate lists they score."""
