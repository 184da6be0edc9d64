"""How fast it is: to the first sound, and through one step of the model; beside a peer and the machine's own limit."""

from engine.cores import wait_quietly

# Before torch is loaded: figures are taken under the conditions of an engine.
wait_quietly()
