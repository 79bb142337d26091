"""Kill what is at work, at any moment, and look whether the next one finds all in order."""
