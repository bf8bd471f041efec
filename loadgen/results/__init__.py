"""The results document: typed, saved and read."""
