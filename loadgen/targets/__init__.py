"""The wire protocols that load can be sent over, one module or folder each."""
