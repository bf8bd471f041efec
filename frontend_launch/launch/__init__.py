"""From a machine to a running deployment: topology, placement, and launchers."""
