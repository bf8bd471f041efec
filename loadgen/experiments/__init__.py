"""One experiment, and many: sweep, search for capacity, choice of a configuration."""
