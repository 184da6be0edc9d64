"""Training of the codecs: audio to codes and back, for the language model to speak.

``python -m engine.training.codec --help`` lists the settings. A training lives in a folder: ``checkpoint.pt`` (everything that
resuming needs), ``metrics.jsonl``, ``curves.png``, ``export/`` (the codec so far, as the runtime loads it), and, once
encoder and codebooks do not change any more, ``frozen/`` and the file ``FROZEN``. ``--from`` an exported codec begins a training
of its decoder alone: what speaks its codes goes on speaking them.
"""
