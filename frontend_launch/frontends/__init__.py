"""The query frontend, the management frontend, and the configuration that they share."""
