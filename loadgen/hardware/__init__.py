"""What cores, processes and GPUs did while load ran."""
