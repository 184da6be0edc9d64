"""What a stream's words are made of as it goes on: changed by requests, and section by section."""

from __future__ import annotations

from daw_bridge.wording import Wording
from protocols.messages import Updated
from protocols.metre import read_metre


class WordedStream:
    """A stream's words. For the loop's thread only.

    Args:
        wording: at first.
        sections: the words of its sections, in order, as they were asked for.

    Attributes:
        wording: as it was last asked for, or as the latest section says.
        wordings: what its words were made of, each with the frame from which on, as its journal counts them.
    """

    def __init__(self, wording: Wording, sections: tuple[str, ...] = ()) -> None:
        self.wording = wording
        self.sections = sections
        self.wordings: list[tuple[int, Wording]] = [(0, wording)]
        self._begun: set[int] = set()

    @property
    def last_change(self) -> int | None:
        """The frame of the last change that was no section's; None where there was none."""
        return next((frame for frame, _ in reversed(self.wordings[1:]) if frame not in self._begun), None)

    def beats_per_bar(self, usual: int) -> int | float:
        """Of its own metre, else the usual."""
        metre = self.wording.facts.metre
        return float(read_metre(metre).beats_per_bar) if metre.strip() else usual

    def words_updated(self, event: Updated) -> None:
        """A change has reached it in the engine."""
        if 0 < event.section <= len(self.sections):
            self._begun.add(event.frame)
            begun = self.wordings[-1][1].saying(self.sections[event.section - 1])
            asked_since = self.wording.facts.prompt != self.wordings[-1][1].facts.prompt
            if asked_since:  # its own words come after the section's
                self.wordings.append((event.frame, begun))
                return
            self.wording = self.wording.saying(self.sections[event.section - 1])
        if self.wording is not self.wordings[-1][1]:
            self.wordings.append((event.frame, self.wording))
