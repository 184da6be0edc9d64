"""What holds an endless stream in level, in character and in time, between the engine's sound and the card."""
