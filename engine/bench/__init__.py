"""How fast this machine makes music with a model: what ``daw-bridge bench`` runs, in a process of its own."""
