"""What is slow to make and asked for again: kept, bounded, counted."""

from __future__ import annotations

import pytest

from engine.conditioning.cache import Cache


def test_a_value_is_made_once_and_what_was_not_asked_for_the_longest_goes_first() -> None:
    cache: Cache[str, list[str]] = Cache(2)
    made: list[str] = []

    def ask(key: str) -> list[str]:
        return cache.get(key, lambda: made.append(key) or [key])

    first = ask("a")
    ask("b")
    assert ask("a") is first
    ask("c")
    assert ("a" in cache, "b" in cache, "c" in cache, len(cache)) == (True, False, True, 2)
    ask("b")
    assert made == ["a", "b", "c", "b"]


def test_all_together_take_no_more_than_they_may() -> None:
    cache: Cache[int, bytes] = Cache(100, most_bytes=100, size=len)
    for key, size in enumerate((40, 40, 15)):
        cache.get(key, lambda size=size: bytes(size))
    assert (len(cache), cache.bytes) == (3, 95)
    cache.get(3, lambda: bytes(50))
    assert ([key in cache for key in range(4)], cache.bytes) == ([False, False, True, True], 65)
    assert len(cache.get(4, lambda: bytes(101))) == 101
    assert (4 in cache, cache.bytes) == (False, 65), "too large to be kept: nothing else has to go for it"
    cache.get(5, lambda: bytes(100))
    assert (len(cache), cache.bytes) == (1, 100)


def test_what_cannot_be_made_is_not_kept() -> None:
    cache: Cache[str, None] = Cache(2)
    with pytest.raises(ZeroDivisionError):
        cache.get("a", lambda: 1 // 0)  # type: ignore[arg-type]
    assert len(cache) == 0
    assert cache.get("a", lambda: None) is None
    assert "a" in cache
