"""Playback: what the engine streams is brought to the sound card's rate and played without clicks or gaps.

The way of a sample: `Feeder` (engine rate, control threads) → `Resampler` → `RingBuffer` → `Voice` → `Mixer`
(sound card's callback) → `Output`. The sound card lives in a process of its own (`card_process`): the callback is
not held up by the bridge's interpreter lock, and a sound system that hangs or aborts takes only that process along.
What is played and what an input delivers in the same callback is kept by frames of the card (`capture`).
`Player` ties the pieces together and is the only class that the rest of the bridge needs.
"""
