"""OSCQuery: the address space of a process as controllers find, read and hear it. No socket library when a module is loaded."""
