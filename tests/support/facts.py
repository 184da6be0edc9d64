"""What an engine says of itself, where no engine runs."""

from __future__ import annotations

from protocols import PROTOCOL_VERSION
from protocols.messages import Welcome

WELCOME = Welcome(
    protocol=PROTOCOL_VERSION,
    version="0",
    instance=1,
    model="pocket",
    fingerprint="abc",
    status="preview",
    sample_rate=32000,
    channels=1,
    frame_samples=640,
    max_message=2**20,
)
