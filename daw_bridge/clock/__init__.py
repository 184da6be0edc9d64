"""Musical time: what beat it is, from whatever source, and on which sample of the sound card a beat is heard."""
