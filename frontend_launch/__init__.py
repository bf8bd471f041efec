"""The serving side: the frontends, and what places and starts them with their replicas."""
