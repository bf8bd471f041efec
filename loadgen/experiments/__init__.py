"""One experiment, and many: sweep, capacity."""
