"""The student: backbone, head, and how it is built, saved and run over many texts."""
