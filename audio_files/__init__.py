"""Sound files in and out: regions taken from a host's media, takes written to disk, and what can be measured on them.

A leaf used by the engine and by the bridge alike. It knows files and samples; it knows no model, socket or host.
"""
