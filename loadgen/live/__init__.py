"""The live process: what a measurement shows while it is under way, on a terminal, to Prometheus and on a page."""
