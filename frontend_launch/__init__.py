"""The serving side: frontends, and what places and starts them and their replicas."""
