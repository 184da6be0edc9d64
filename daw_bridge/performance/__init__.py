"""Performances: what was heard is written down as it happens, and is made again from that."""
