"""Pads and controllers: what is played on MIDI inputs starts, stops and shapes what the bridge plays."""
