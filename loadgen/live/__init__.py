"""What a measurement shows while it is under way: a view for terminals, metrics for Prometheus, and a page."""
