"""The journal: what every stream sampled, on disk as it goes, so that it can be gone back to and gone on with."""
