"""What runs inside a replica: the container protocol, the models, and nothing about load or deployment."""
