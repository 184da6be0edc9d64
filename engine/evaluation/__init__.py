"""How good a model is: what it makes, measured beside real renders that no training has heard.

``python -m engine.evaluation pocket`` measures a model; ``python -m engine.evaluation.listening docs/listening`` writes a page
to listen to.
"""
