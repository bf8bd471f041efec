"""What is measured: a deployment, a frontend, or an external server; and its readings."""
