"""From a machine to a running deployment: what there is, who runs where, and what starts, watches and stops them."""
