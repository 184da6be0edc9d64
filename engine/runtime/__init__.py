"""The hot path: decoder LM with static caches, codebook patterns, sampling and the streaming codec. Tensors only."""
