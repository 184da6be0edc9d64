"""Training of the language model: captions, scores and codes in, a MusicGen in transformers' layout out.

``python -m engine.training.lm --help`` lists the settings. A training lives in a folder: ``checkpoint.pt`` (everything that
resuming needs), ``metrics.jsonl``, ``curves.png``, ``tokenizer.json`` and ``export/`` (the averaged weights so far).
"""
