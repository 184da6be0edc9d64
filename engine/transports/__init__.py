"""The engine's sockets: ZeroMQ and OSC over the same service. Thin: what they carry is decided elsewhere."""
