"""Say what a student is, in a model card, and put it on the Hugging Face hub."""
