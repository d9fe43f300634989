"""What training data looks like before it is trained on: lengths, duplicates, contamination, teacher, sources."""
