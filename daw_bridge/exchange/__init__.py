"""What is handed over through a folder: audio for hosts, and OSC for those that have no sockets."""
