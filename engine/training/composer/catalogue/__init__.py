"""The styles that the composer knows."""

from __future__ import annotations

from collections.abc import Mapping

from engine.training.composer.catalogue.acoustic import ACOUSTIC
from engine.training.composer.catalogue.electronic import ELECTRONIC
from engine.training.composer.catalogue.popular import POPULAR
from engine.training.composer.style import Style

STYLES: Mapping[str, Style] = {style.name: style for style in (*ACOUSTIC, *ELECTRONIC, *POPULAR)}
"""By name. Seeds choose from them in this order, so that a new style goes to the end of its list and changes old seeds' pieces."""
