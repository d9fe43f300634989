"""Where rows of text come from: collections, splits, score lists and the installed documentation."""
