"""Scripts that run in a target's own environment: what reads back, what stands in for a warehouse, what starts a target."""
