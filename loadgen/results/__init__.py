"""The results document: typed, saved, read, and grouped into cells."""
