"""What a user runs: load, its measurement, and one experiment around both."""
