"""Models on servers that somebody else runs, described alike: what to send them, and how."""
