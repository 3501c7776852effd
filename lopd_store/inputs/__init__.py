"""What users hand us: rollouts and prompts, from a store or from files, as Arrow batches."""
