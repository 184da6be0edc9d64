"""What several test files need: small checkpoints, and the reference data turned into them."""
