"""What cores, processes and GPUs did."""
