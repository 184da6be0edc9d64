"""Loops: layers that are recorded, played on the clock's bar lines, and gone on with by the engine."""
