"""Several engines behind one front: each on a device or a machine of its own, placed, watched and started again by Ray.

Clients speak to the front as they speak to one engine. Sound never passes through Ray: the front has ZeroMQ lines to the replicas.
Only `cluster` and what runs inside a replica load Ray, so an engine by itself needs nothing of it.
"""
