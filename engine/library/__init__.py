"""Models on this disk: what there is, what it takes, getting, checking and removing it. No torch but for the engine's desk."""
