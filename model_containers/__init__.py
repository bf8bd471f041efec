"""What runs inside a replica: the container protocol and the models."""
