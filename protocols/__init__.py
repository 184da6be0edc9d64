"""The language both processes speak: messages, units, ranges, errors, and their OSC and ZeroMQ forms.

Nothing here imports torch, and no module imports a socket library when it is loaded: it can be read as the manual.
"""

PROTOCOL_VERSION = 1
"""Checked at the first handshake. Raised whenever a message changes so that an older peer would misread it."""
