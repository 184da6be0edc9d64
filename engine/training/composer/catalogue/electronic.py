"""Styles for machines: house, techno, drum and bass, ambient, synthwave, chiptune, trap, trance."""

from __future__ import annotations

from fractions import Fraction

from engine.training.composer.style import STRAIGHT, LeadStyle, Style

TECHNO = Style(
    name="techno",
    names=("techno", "minimal techno", "driving techno", "dark techno"),
    moods=("hypnotic", "dark", "driving", "mechanical", "relentless", "underground"),
    bpm=(120, 142),
    modes=("minor", "phrygian", "dorian"),
    progressions={"major": ("1 1 1 1",), "minor": ("1 1 1 1", "1 1 6 1", "1 1 1 7", "1 1 4 1", "1 1 2 1")},
    bars_per_chord=(1, 2),
    leads=("saw lead", "square lead", "polysynth", "fm electric piano"),
    chords=("polysynth", "saw lead", "synth strings"),
    basses=("synth bass", "deep synth bass"),
    pads=("sweep pad", "halo pad", "warm pad"),
    kits=("electronic drums", "808 drums"),
    presence={"pad": 0.4, "chords": 0.7},
    grooves={
        "4/4": (
            ("k X...X...X...X...", "o ..x...x...x...x.", "c ....x.......x..."),
            ("k X...X...X...X...", "h x.oxx.oxx.oxx.ox", "r ...x..x....x..x."),
            ("k X...X...X...X...", "o ..x...x...x...x.", "h xoxoxoxoxoxoxoxo", "e ....x.......x..."),
            ("k X...X...X...X..x", "h ..x...x...x...x.", "m ......o..o......", "c ....x.......x..."),
        )
    },
    bass_lines={"4/4": ("..1-..1-..1-..1-", ".111.111.111.111", "1.1..1.11.1..1.1", "..11..11..11..18")},
    figures={
        "4/4": ("...C..C....C..C.", "C..C..C.........", "..C-..........C.", "0.1.2.0.1.2.0.1.", "....C.......C..C")
    },
    chord_articulation=0.6,
    lead=LeadStyle(("syncopated", "busy", "sparse"), pentatonic=0.5, leap=0.2, articulation=0.6, rest_bars=0.2),
    bass_centre=35,
)

HOUSE = Style(
    name="house",
    names=("house", "deep house", "classic house", "piano house"),
    moods=("groovy", "uplifting", "soulful", "club", "feel-good", "warm"),
    bpm=(116, 130),
    modes=("minor", "dorian", "minor", "major"),
    progressions={
        "major": ("1 6 4 5", "4 5 6 1", "6 4 1 5", "2 3 4 3"),
        "minor": ("1 6 3 7", "1 7 6 7", "1 4 1 5", "6 7 1 1", "1 3 4 6"),
    },
    chord_sizes=(3, 4, 4),
    leads=("saw lead", "flute", "vibraphone", "tenor saxophone", "polysynth", "electric piano"),
    chords=("piano", "drawbar organ", "electric piano", "polysynth"),
    basses=("synth bass", "fingered bass", "deep synth bass"),
    pads=("strings", "warm pad"),
    kits=("electronic drums", "808 drums", "drums"),
    presence={"pad": 0.5},
    grooves={
        "4/4": (
            ("k X...X...X...X...", "c ....x.......x...", "o ..x...x...x...x."),
            ("k X...X...X...X...", "c ....x.......x...", "o ..x...x...x...x.", "h x.oxx.oxx.oxx.ox"),
            ("k X...X...X...X...", "s ....x.......x...", "h xoxoxoxoxoxoxoxo", "H ...x..x....x..x."),
        )
    },
    bass_lines={"4/4": ("..1-..1-..1-..1-", "1..1..1...1..18.", "..1...8...1...8.", "1-.1-.1-....5-8-")},
    figures={"4/4": ("C..C..C...C..C..", "..C...C...C...C.", "C-..C-.C-.C-..C-", "C--C--C---------")},
    chord_articulation=0.75,
    lead=LeadStyle(("syncopated", "calm", "sparse"), pentatonic=0.5, articulation=0.8, rest_bars=0.2),
    swings=(STRAIGHT, STRAIGHT, Fraction(9, 16)),
    swing_unit=Fraction(1, 2),
)

DRUM_AND_BASS = Style(
    name="drum and bass",
    names=("drum and bass", "drum'n'bass", "liquid drum and bass", "jungle"),
    moods=("energetic", "fast", "rolling", "futuristic", "dark", "atmospheric"),
    bpm=(164, 178),
    modes=("minor", "dorian", "phrygian"),
    progressions={"major": ("1 1 6 6", "4 4 1 1"), "minor": ("1 1 6 6", "1 1 7 7", "1 1 4 4", "6 6 7 7", "1 1 3 7")},
    chord_sizes=(3, 4, 5),
    leads=("saw lead", "electric piano", "square lead", "flute", "vibraphone"),
    chords=("electric piano", "polysynth", "piano"),
    basses=("deep synth bass", "synth bass"),
    pads=("warm pad", "strings", "sweep pad", "choir pad"),
    kits=("electronic drums", "drums", "power drums"),
    presence={"pad": 0.85, "chords": 0.6},
    grooves={
        "4/4": (
            ("k X.........x.....", "s ....X.......X...", "h x.x.x.x.x.x.x.x."),
            ("k X.........x.....", "s ....X..g.g..X..g", "h xoxoxoxoxoxoxoxo"),
            ("k X.x.......x.....|X.........x..x..", "s ....X..g.g..X...|....X..g.g....X.", "R x.x.x.x.x.x.x.x."),
        )
    },
    bass_lines={"4/4": ("1-----------....", "1-----1---1-----", "1---------1-5---", "1--1--1-....8-5-")},
    figures={"4/4": ("C---------------", "C-----C-........", "..C-........C-..", "0-1-2-3-2-1-0-1-")},
    lead=LeadStyle(("sparse", "calm", "syncopated"), pentatonic=0.6, rest_bars=0.25),
    bass_centre=33,
    form_bars=(4, 8),
)

AMBIENT = Style(
    name="ambient",
    names=("ambient", "ambient pads", "ambient drone music", "ambient soundscape"),
    moods=("dreamy", "calm", "floating", "spacious", "ethereal", "meditative"),
    bpm=(50, 86),
    modes=("major", "lydian", "minor", "dorian"),
    metres=("4/4", "4/4", "3/4"),
    progressions={
        "major": ("1 4 1 4", "1 2 1 2", "1 6 4 1", "4 1 5 1", "1 3 4 1"),
        "minor": ("1 6 1 6", "1 7 6 7", "1 4 1 4", "6 7 1 1"),
    },
    chord_sizes=(3, 4, 5),
    bars_per_chord=(1, 2),
    leads=("crystal", "celesta", "flute", "electric piano", "vibraphone", "pan flute", "music box", "choir"),
    chords=("harp", "electric piano", "halo pad", "crystal", "polysynth"),
    basses=("deep synth bass", "fretless bass", "contrabass"),
    pads=("warm pad", "sweep pad", "choir pad", "halo pad", "slow strings"),
    presence={"chords": 0.5, "bass": 0.55, "lead": 0.85},
    bass_lines={"4/4": ("1---------------",), "3/4": ("1-----------",)},
    figures={
        "4/4": ("0---1---2---3---", "C---------------", "0-------2-------", "0---2---1---3---"),
        "3/4": ("0---1---2---", "C-----------"),
    },
    lead=LeadStyle(("sparse",), pentatonic=0.7, leap=0.4, articulation=1.0, rest_bars=0.3),
    chord_level=62,
    chord_centre=62,
)

SYNTHWAVE = Style(
    name="synthwave",
    names=("synthwave", "retro synthwave", "80s synth pop", "retrowave"),
    moods=("nostalgic", "neon", "retro", "dreamy", "cinematic", "night-drive"),
    bpm=(80, 124),
    modes=("minor", "minor", "major", "dorian"),
    progressions={
        "major": ("1 5 6 4", "4 5 6 6", "1 3 6 4"),
        "minor": ("1 6 3 7", "6 7 1 1", "1 7 6 7", "1 3 7 6", "1 4 6 7"),
    },
    leads=("saw lead", "square lead", "calliope lead", "polysynth"),
    chords=("polysynth", "fm electric piano", "synth strings", "saw lead"),
    basses=("synth bass", "deep synth bass"),
    pads=("warm pad", "synth strings", "polysynth"),
    kits=("electronic drums", "power drums"),
    presence={"pad": 0.8},
    grooves={
        "4/4": (
            ("k X...x...X...x...", "s ....X.......X...", "h x.x.x.x.x.x.x.x."),
            ("k X.......X.......", "s ....X.......X...", "h x.x.x.x.x.x.x.x."),
            ("k X.....x.X.......", "s ....X.......X...", "h xoxoxoxoxoxoxoxo"),
        )
    },
    bass_lines={"4/4": ("1-1-1-1-1-1-1-1-", "1-8-1-8-1-8-1-8-", "1.111.111.111.11", "1111111111118181")},
    figures={
        "4/4": ("0123210301232103", "C-------C-------", "0-1-2-3-2-1-2-3-", "C-..C-..C-..C-..", "0120120120120123")
    },
    lead=LeadStyle(("calm", "moving", "sparse"), pentatonic=0.4, articulation=0.95),
)

CHIPTUNE = Style(
    name="chiptune",
    names=("chiptune", "8-bit video game music", "retro game music", "8-bit chiptune"),
    moods=("playful", "cheerful", "adventurous", "bright", "energetic", "cute"),
    bpm=(110, 168),
    modes=("major", "minor", "mixolydian", "major"),
    progressions={
        "major": ("1 5 6 4", "1 4 5 1", "4 5 3 6", "1 6 4 5", "1 3 4 5"),
        "minor": ("1 6 7 1", "1 7 6 7", "1 3 7 4", "1 6 3 5M"),
    },
    leads=("square lead",),
    chords=("square lead", "saw lead", "calliope lead"),
    basses=("square lead", "synth bass"),
    kits=("electronic drums", "808 drums"),
    presence={"drums": 0.85},
    grooves={
        "4/4": (
            ("k x...x...x...x...", "h ..x...x...x...x.", "e ....x.......x..."),
            ("k x.....x.x.......", "e ....x.......x..x", "h x.x.x.x.x.x.x.x."),
        )
    },
    bass_lines={"4/4": ("1-1-5-5-1-1-5-5-", "1-8-1-8-1-8-1-8-", "1---5---8---5---", "1-1-1-1-5-5-8-8-")},
    figures={
        "4/4": ("0120120120120120", "0101010102020202", "0-1-2-1-0-1-2-1-", "012-012-012-0123", "C.C.C.C.C.C.C.C.")
    },
    chord_articulation=0.7,
    chord_level=56,
    chord_centre=64,
    lead=LeadStyle(("moving", "busy", "syncopated"), pentatonic=0.3, leap=0.35, articulation=0.75, rest_bars=0.05),
    bass_centre=42,
)

TRAP = Style(
    name="trap",
    names=("trap beat", "trap", "808 trap", "dark trap"),
    moods=("dark", "moody", "hard", "ominous", "cold", "slow-burning"),
    bpm=(125, 150),
    modes=("minor", "phrygian", "minor"),
    progressions={"major": ("1 1 4 4",), "minor": ("1 1 6 6", "1 1 2 2", "1 6 1 7", "1 1 4 5M", "1 1 7 6")},
    leads=("music box", "flute", "piano", "crystal", "vibraphone", "square lead", "kalimba"),
    chords=("piano", "polysynth", "tubular bells", "harp"),
    basses=("deep synth bass",),
    pads=("choir pad", "strings", "warm pad"),
    kits=("808 drums",),
    presence={"chords": 0.7, "pad": 0.6},
    grooves={
        "4/4": (
            ("k X.....x.....x...", "c ........X.......", "h x.x.x.x.x.x.xxxx"),
            ("k X..x......x.....", "c ........X.......", "h x.x.xxx.x.x.x.x.|x.xxx.x.x.x.xxxx"),
            ("k X.........x..x..", "s ........X.......", "h xoxoxoxoxoxoxxxx"),
        )
    },
    bass_lines={"4/4": ("1-----1-----1---", "1--1------1-----", "1-----------8-1-", "1---------------")},
    figures={"4/4": ("C---------------", "0---1---2---1---", "0-1-2-1-0-1-2-1-", "C-----C---------")},
    lead=LeadStyle(("calm", "sparse", "syncopated"), pentatonic=0.4, rest_bars=0.15),
    bass_centre=33,
    fills=0.5,
)

TRANCE = Style(
    name="trance",
    names=("trance", "uplifting trance", "melodic trance", "progressive trance"),
    moods=("euphoric", "uplifting", "emotional", "soaring", "driving"),
    bpm=(128, 142),
    modes=("minor", "minor", "major"),
    progressions={
        "major": ("1 5 6 4", "4 5 6 6", "6 4 1 5"),
        "minor": ("1 6 3 7", "6 7 1 1", "1 6 7 5", "4 6 1 7"),
    },
    leads=("saw lead", "square lead", "polysynth"),
    chords=("polysynth", "saw lead", "synth strings"),
    basses=("synth bass", "deep synth bass"),
    pads=("warm pad", "synth strings", "choir pad"),
    kits=("electronic drums",),
    presence={"pad": 0.8},
    grooves={
        "4/4": (
            ("k X...X...X...X...", "o ..x...x...x...x.", "c ....x.......x..."),
            ("k X...X...X...X...", "o ..x...x...x...x.", "h xoxoxoxoxoxoxoxo", "s ....x.......x..."),
        )
    },
    bass_lines={"4/4": (".111.111.111.111", "..1-..1-..1-..1-", ".181.181.181.181")},
    figures={"4/4": ("0123012301230123", "0210321002103210", "C..C..C..C..C.C.", "C---------------")},
    chord_articulation=0.85,
    lead=LeadStyle(("moving", "calm", "syncopated"), pentatonic=0.3, articulation=0.85),
    chord_centre=64,
    bass_centre=36,
    form_bars=(4, 8),
)

ELECTRONIC = (TECHNO, HOUSE, DRUM_AND_BASS, AMBIENT, SYNTHWAVE, CHIPTUNE, TRAP, TRANCE)
