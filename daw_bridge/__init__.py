"""The host's side: sound card, MIDI, audio regions, tempo and live loops. Never imports torch or the engine."""
