"""The OSC form of the protocol: codec, address space, manners, and the port that both processes answer on."""
