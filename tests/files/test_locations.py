"""The folder gate by the rules of systems these tests do not run on."""

from __future__ import annotations

from pathlib import PureWindowsPath

import pytest

from audio_files.locations import lies_inside


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        (r"C:\Music\Project\a.wav", True),
        (r"c:\music\PROJECT\takes\a.wav", True),
        ("C:/Music/Project/a.wav", True),
        (r"C:\Music\Project-old\a.wav", False),
        (r"D:\Music\Project\a.wav", False),
        (r"\\server\Music\Project\a.wav", False),
        (r"\\.\NUL", False),
    ],
)
def test_windows_paths(path: str, inside: bool) -> None:
    assert lies_inside(PureWindowsPath(path), PureWindowsPath(r"C:\Music\Project")) is inside
