"""Studies: a question, the runs that answer it, and the verdict that follows from their numbers. Imports no torch."""
