"""Load from several machines: workers on the nodes of a cluster, each with client processes of a run."""
