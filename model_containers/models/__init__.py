"""One model per file; each has `load(description, options)`, and only there is its framework imported."""
