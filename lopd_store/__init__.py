"""The teacher signal of on-policy distillation as a versioned, verifiable artifact."""
