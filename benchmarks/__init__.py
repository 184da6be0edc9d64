"""How fast it is: to the first sound, and through one step of the model; beside a peer and the machine's own limit."""
