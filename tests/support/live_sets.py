"""Sets of Ableton Live as tests/hosts/max/live.js reads them: a clip in the detail view, an empty slot, an audio track."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RATE = 32_000
BAR_OF_NOTES = [
    {"pitch": 60 + step, "start_time": 4.0 + step, "duration": 0.9, "velocity": 99.6, "mute": 0} for step in range(4)
]


def live_set(folder: Path, clip: dict[str, Any] | None = None, **more: Any) -> Path:
    """A set in Live with a clip in the detail view, an empty slot and an audio track."""
    objects: dict[str, Any] = {
        "song": {"id": 1, "class": "Song", "properties": {"tempo": 96, "current_song_time": 16.0}},
        "app": {"id": 2, "class": "View", "properties": {"focused_document_view": more.get("view", "Session")}},
        "slot": {
            "id": 3,
            "class": "ClipSlot",
            "old": more.get("old", False),
            "properties": {"has_clip": more.get("full", 0)},
        },
        "track": {
            "id": 4,
            "class": "Track",
            "old": more.get("old", False),
            "properties": {
                "playing_slot_index": -2,
                "has_audio_input": more.get("audio", 1),
                "arrangement_clips": ["id", 7],
            },
        },
    }
    if clip is not None:
        objects["clip"] = {"id": 5, "class": "Clip", **clip}
    paths = {
        "live_set": "song",
        "live_app view": "app",
        "live_set view detail_clip": "clip" if clip is not None else "",
        "live_set view highlighted_clip_slot": "slot",
        "live_set view highlighted_clip_slot clip": "",
        "live_set view selected_track": "track",
        "this_device canonical_parent": "track",
    }
    path = folder / "set.json"
    path.write_text(json.dumps({"objects": objects, "paths": paths}))
    return path


def midi_clip(notes: list[dict[str, Any]]) -> dict[str, Any]:
    places = {"loop_start": 4.0, "loop_end": 8.0, "signature_numerator": 4, "signature_denominator": 4}
    return {"properties": {"is_midi_clip": 1, "is_audio_clip": 0, **places}, "notes": notes}


def audio_clip(path: Path, **more: Any) -> dict[str, Any]:
    properties = {
        "is_midi_clip": 0,
        "is_audio_clip": 1,
        "file_path": str(path),
        "loop_start": 1.0,
        "loop_end": 3.0,
        "warping": 0,
        "sample_rate": float(RATE),
        "sample_length": 6 * RATE,
        "pitch_coarse": 0,
        "pitch_fine": 0,
        **more,
    }
    return {"properties": properties}
