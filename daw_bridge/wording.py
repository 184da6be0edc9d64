"""Prompt templates: words with fields, filled with what a host has asked for."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from string import Formatter
from typing import Any

import msgspec

from daw_bridge.asked import NOTHING, Asked
from daw_bridge.followed_clip import FollowedClip
from protocols.bridge_messages import MAX_TEMPLATE_TEXT, BridgeUpdate
from protocols.errors import ErrorCode, RequestError
from protocols.fields import fields_of
from protocols.messages import PROMPT_SEPARATOR, Sampling, Update

FIELDS = ("bpm", "key", "style", "prompt")

_SYNTAX = f"the fields {', '.join(f'{{{name}}}' for name in FIELDS)}; braces themselves as {{{{ and }}}}"
_OF_ITS_OWN = ("style", "prompt")
"""Fields whose words come at the end of a template that has no place for them: what a musician writes is never lost."""


@dataclass(frozen=True)
class Facts:
    """What fills a template.

    Attributes:
        bpm: beats per minute; 0 where it is not known.
        key: such as A minor; empty where it is not known.
        style: words.
        prompt: words; several prompts stand between `PROMPT_SEPARATOR`.
        ending: words that come at the end whatever the template is, of a clip.
        metre: such as 3/4; empty where it is not known. It fills no field.
    """

    bpm: float = 0.0
    key: str = ""
    style: str = ""
    prompt: str = ""
    ending: str = ""
    metre: str = ""


@dataclass(frozen=True)
class Template:
    """Words with fields. What stands between two commas is a clause; one whose fields are not all known is left out.

    Attributes:
        text: on one line, however it was written.

    Raises:
        RequestError: about ``text``, when it is made: EMPTY; TOO_LONG; MALFORMED (a brace without its partner, a control
            character); UNKNOWN_PARAMETER (a field that does not exist).
    """

    text: str
    _clauses: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _fields: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        text = " ".join(self.text.split())
        if not text:
            raise RequestError(ErrorCode.EMPTY, "text", self.text, "words")
        if len(text) > MAX_TEMPLATE_TEXT:
            raise RequestError(ErrorCode.TOO_LONG, "text", text, f"at most {MAX_TEMPLATE_TEXT} characters")
        if not text.isprintable():
            raise RequestError(ErrorCode.MALFORMED, "text", ascii(text), "words without control characters")
        fields = _fields_in(text)
        places = [f"{{{name}}}" for name in _OF_ITS_OWN if name not in fields]
        clauses = [*(clause.strip() for clause in text.split(",")), *places]
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "_fields", fields)
        object.__setattr__(self, "_clauses", tuple(filter(None, clauses)))

    def filled(self, facts: Facts) -> str:
        """The words, for each of several prompts anew.

        Raises:
            RequestError: TOO_LONG, about ``prompt``.
        """
        prompts = facts.prompt.split(PROMPT_SEPARATOR)
        words = f" {PROMPT_SEPARATOR} ".join(self._filled(facts, prompt) for prompt in prompts)
        most = fields_of(Sampling)["prompt"].max_length
        if most is not None and len(words) > most:
            raise RequestError(
                ErrorCode.TOO_LONG, "prompt", words, f"at most {most} characters with the template filled"
            )
        return words

    def _filled(self, facts: Facts, prompt: str) -> str:
        values = {
            "bpm": f"{facts.bpm:.6g}" if facts.bpm else "",
            "key": facts.key.strip(),
            "style": facts.style.strip(" ,"),
            "prompt": prompt.strip(" ,"),
        }
        known = [clause for clause in self._clauses if all(values[name] for name in _fields_in(clause))]
        return ", ".join(filter(None, (*(clause.format_map(values) for clause in known), facts.ending)))


@dataclass(frozen=True)
class Wording:
    """How a stream's words come about, so that they can follow what changes. Never changes; any thread.

    Attributes:
        template: None where the prompt is said as it is.
        facts: as last asked for.
        asked: what else was, which makes no words.
    """

    template: Template | None = None
    facts: Facts = Facts()
    asked: Asked = NOTHING

    @property
    def words(self) -> str:
        """The prompt as the model gets it; a style without a template comes after it.

        Raises:
            RequestError: TOO_LONG, about ``prompt``.
        """
        if self.template is None and not self.facts.style and not self.facts.ending:
            return self.facts.prompt
        return (self.template or _PLAIN).filled(self.facts)

    def saying(self, prompt: str) -> Wording:
        """The same with other words of the host's."""
        return dataclasses.replace(self, facts=dataclasses.replace(self.facts, prompt=prompt))

    def after(
        self,
        request: BridgeUpdate,
        update: Update,
        template: Template | None,
        notes: FollowedClip | None = None,
    ) -> tuple[Wording, Update]:
        """What the words are made of once a stream is changed, and the change with the words that follow from it.

        Args:
            request: of the host.
            update: what the engine is asked for so far: its tempo may be that of notes.
            template: that the request names; None for none.
            notes: that it names.

        Raises:
            RequestError: TOO_LONG, about ``prompt``.
        """
        given: dict[str, Any] = {"bpm": update.bpm, "key": update.key, "style": request.style, "prompt": request.prompt}
        given["metre"] = update.metre
        facts = dataclasses.replace(self.facts, **{name: value for name, value in given.items() if value is not None})
        asked = self.asked.after(request, notes)
        wording = Wording(self.template if request.template is None else template, facts, asked)
        if request.prompt is not None and wording.template is None:
            wording = dataclasses.replace(wording, facts=dataclasses.replace(facts, ending=""))
        words = wording.words
        if request.prompt is not None or words != self.words:
            update = msgspec.structs.replace(update, prompt=words)
        return wording, update


def _fields_in(text: str) -> frozenset[str]:
    try:
        parts = [part[1:] for part in Formatter().parse(text) if part[1] is not None]
    except ValueError as error:
        raise RequestError(ErrorCode.MALFORMED, "text", text, f"{_SYNTAX} ({error})") from None
    for name, form, conversion in parts:
        if name not in FIELDS or form or conversion:
            wrong = f"{{{name}{'!' + conversion if conversion else ''}{':' + form if form else ''}}}"
            raise RequestError(ErrorCode.UNKNOWN_PARAMETER, "text", wrong, _SYNTAX)
    return frozenset(str(name) for name, _, _ in parts)


_PLAIN = Template("{prompt}, {style}")
