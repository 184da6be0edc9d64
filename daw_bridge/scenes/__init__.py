"""Scenes and sets: how streams sound kept under names, and everything that the bridge remembers."""
