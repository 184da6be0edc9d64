"""The bridge's sound as a host on this machine takes it without a cable: ReaStream, Reaper's own audio over UDP."""
