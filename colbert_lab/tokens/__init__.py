"""From text to token ids: prompts, markers, truncation, expansion and the skiplist."""
