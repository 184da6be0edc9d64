"""Checkpoints as AudioCraft writes them: released ones, and what its solvers leave behind while they train."""
