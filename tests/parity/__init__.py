"""The whole family against data recorded from AudioCraft: ``python -m tests.parity DIR --json``."""
