"""What hosts' clients know of the protocol: one description, written into each client's own language."""
