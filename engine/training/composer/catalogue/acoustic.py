"""Styles for acoustic players: jazz, bossa nova, folk, chamber and orchestral music, solo piano."""

from __future__ import annotations

from fractions import Fraction

from engine.training.composer.style import LeadStyle, Style

_THIRDS = Fraction(2, 3)

JAZZ = Style(
    name="jazz",
    names=("jazz", "swing jazz", "jazz combo", "jazz club music", "jazz {lead} {group}", "{lead} jazz {group}"),
    moods=("smoky", "relaxed", "elegant", "late night", "warm", "cool"),
    bpm=(66, 180),
    modes=("major", "minor", "dorian", "major"),
    metres=("4/4", "4/4", "4/4", "3/4"),
    progressions={
        "major": ("2 5M 1 1", "1 6 2 5", "2 5 1 6", "1/6 2/5 3/6 2/5", "4 7 3 6M", "1 4 3/6 2/5"),
        "minor": ("1 4 5M 1", "2 5M 1 1", "1 6 2 5M", "4 7 3 6", "1 1 4 5M"),
    },
    chord_sizes=(4, 4, 5),
    leads=("piano", "tenor saxophone", "muted trumpet", "vibraphone", "jazz guitar", "alto saxophone", "clarinet"),
    chords=("piano", "piano", "jazz guitar", "vibraphone"),
    basses=("acoustic bass",),
    kits=("jazz drums", "brushed drums"),
    presence={"drums": 0.9},
    grooves={
        "4/4": (
            ("R x...x.x.x...x.x.", "p ....x.......x...", "k o.......o......."),
            ("R x...x.x.x...x.x.", "p ....x.......x...", "k o.......o.......", "s ......g.......g."),
            ("R x...x...x...x.x.", "p ....x.......x...", "s ..g.......g.g..."),
        ),
        "3/4": (
            ("R x...x.x.x...", "p ....x...x...", "k o..........."),
            ("R x...x.x.x.x.", "p ....x.......", "s ......g...g."),
        ),
    },
    bass_lines={
        "4/4": (
            "1---3---5---a---",
            "1---5---8---a---|1---3---5---a---",
            "1---8---5---a---|1---3---1---a---",
            "1-------5---a---",
        ),
        "3/4": ("1---3---a---", "1---5---a---", "1-------5---"),
    },
    figures={
        "4/4": (
            "C--...C-........",
            "......C-....C---",
            "C---......C-....|......C-......C-",
            "..C-..........C-|....C-....C-....",
        ),
        "3/4": ("....C-..C-..", "C---......C-|....C---...."),
    },
    chord_articulation=0.8,
    swings=(_THIRDS, _THIRDS, Fraction(5, 8)),
    lead=LeadStyle(("calm", "moving", "busy", "syncopated"), pentatonic=0.1, leap=0.3, rest_bars=0.2),
    chord_level=66,
)

BOSSA = Style(
    name="bossa nova",
    names=("bossa nova", "bossa", "brazilian bossa nova", "latin jazz"),
    moods=("breezy", "sunny", "gentle", "romantic", "relaxed", "soft"),
    bpm=(96, 150),
    modes=("major", "minor", "major"),
    progressions={
        "major": ("1 1 2 5", "1 6 2 5", "2 5 1 1", "1 2 3 2/5", "4 5 3 6"),
        "minor": ("1 4 2 5M", "1 1 2 5M", "4 7 3 5M", "1 6 2 5M"),
    },
    chord_sizes=(4, 5),
    leads=("flute", "nylon guitar", "tenor saxophone", "piano", "vibraphone", "clarinet"),
    chords=("nylon guitar", "nylon guitar", "electric piano"),
    basses=("acoustic bass", "fingered bass"),
    pads=("strings", "warm pad"),
    kits=("drums", "jazz drums"),
    presence={"pad": 0.25},
    grooves={
        "4/4": (
            ("h xoxoxoxoxoxoxoxo", "r x.....x.....x...|..x.....x.....x.", "k x.....oxx.....ox"),
            ("b xoxoxoxoxoxoxoxo", "r x.....x.....x...|..x...x...x.....", "k x.....x.x.....x."),
            ("h x.x.x.x.x.x.x.x.", "q x.....x.....x...|....x...x.....x.", "k x.....x.x.....x."),
        )
    },
    bass_lines={"4/4": ("1-----5-5-----1-", "1-----5-5-----a-", "1-----8-5-------")},
    figures={
        "4/4": ("C--C--C-..C--C--", "B---C-..C---..C-|C---..C-..C-C-..", "C-..C---..C-..C-|..C-..C-C---C-.."),
    },
    chord_articulation=0.85,
    lead=LeadStyle(("calm", "syncopated", "sparse"), pentatonic=0.1, rest_bars=0.15),
    fills=0.2,
    chord_level=70,
)

FOLK = Style(
    name="folk",
    names=("folk", "folk guitar", "acoustic folk", "indie folk", "singer-songwriter folk"),
    moods=("gentle", "rustic", "nostalgic", "warm", "tender", "hopeful"),
    bpm=(70, 126),
    modes=("major", "major", "minor", "mixolydian", "dorian"),
    metres=("4/4", "4/4", "3/4", "6/8"),
    progressions={
        "major": ("1 5 6 4", "1 4 1 5", "1 6 4 5", "4 1 5 6", "1 1 4 5", "6 4 1 5"),
        "minor": ("1 7 6 7", "1 3 7 4", "1 6 3 7", "1 4 1 7"),
    },
    leads=("flute", "harmonica", "fiddle", "steel guitar", "recorder", "accordion", "whistle"),
    chords=("steel guitar", "nylon guitar", "steel guitar"),
    basses=("acoustic bass",),
    pads=("slow strings", "accordion"),
    kits=("brushed drums", "room drums"),
    presence={"bass": 0.6, "pad": 0.25, "drums": 0.35},
    grooves={
        "4/4": (
            ("k x.......x.......", "s ....x.......x...", "y ..o...o...o...o."),
            ("k x.....x.x.......", "r ....x.......x..."),
        ),
        "3/4": (("k x...........", "s ....o...o..."),),
        "6/8": (("k x.....", "s ...x..", "y x.ox.o"),),
    },
    bass_lines={
        "4/4": ("1-------5-------", "1-----1-5-----5-"),
        "3/4": ("1-----------", "1-------5---"),
        "6/8": ("1--5--", "1-----"),
    },
    figures={
        "4/4": ("B-1-2-3-B-1-2-3-", "B-2-1-3-2-1-3-2-", "C---C-C-..C-C-C-", "B-123-21B-123-21", "C---c-c-C-c-c-c-"),
        "3/4": ("B-1-2-3-2-1-", "C---c---c---", "B---C---C-c-"),
        "6/8": ("B12321", "C-cc-c", "B13213"),
    },
    lead=LeadStyle(("calm", "moving", "sparse"), pentatonic=0.6, leap=0.2),
    chord_centre=57,
)

CELTIC = Style(
    name="celtic",
    names=("celtic jig", "irish folk dance", "celtic folk", "irish jig"),
    moods=("lively", "joyful", "dancing", "bright", "festive"),
    bpm=(90, 126),
    modes=("major", "dorian", "mixolydian", "minor"),
    metres=("6/8",),
    progressions={
        "major": ("1 1 4 5", "1 5 4 5", "1 4 1 5", "1 7 1 5"),
        "minor": ("1 1 7 7", "1 7 1 7", "1 3 7 1", "1 7 6 7"),
    },
    leads=("fiddle", "whistle", "flute", "accordion", "recorder"),
    chords=("steel guitar", "banjo", "harp"),
    basses=("acoustic bass", "cello"),
    kits=("room drums", "orchestral percussion"),
    presence={"bass": 0.6, "drums": 0.65},
    grooves={"6/8": (("k x.....", "t ..ox.o", "y xooxoo"), ("k x..x..", "y x.ox.o"), ("t x.ox.o", "m ...x.."))},
    bass_lines={"6/8": ("1--5--", "1-1-5-", "1-----")},
    figures={"6/8": ("C-cC-c", "C--C-c", "B12B12", "B-1C-c")},
    lead=LeadStyle(("busy", "busy", "moving"), pentatonic=0.3, leap=0.3, rest_bars=0.0),
    form_bars=(4, 8),
)

QUARTET = Style(
    name="string quartet",
    names=("string quartet", "chamber music for strings", "classical string quartet", "chamber strings"),
    moods=("elegant", "lyrical", "graceful", "melancholic", "refined", "tender"),
    bpm=(60, 132),
    modes=("major", "minor", "major"),
    metres=("4/4", "3/4", "4/4"),
    progressions={
        "major": ("1 4 5 1", "1 6 2 5", "1 5 6 3", "1 2 5 1", "4 1 5 1"),
        "minor": ("1 4 5M 1", "1 6 3 5M", "1 7 6 5M", "1 5M 1 4"),
    },
    leads=("violin",),
    chords=("viola", "strings"),
    basses=("cello",),
    bass_lines={
        "4/4": ("1---------------", "1-------5-------", "1---3---5---3---", "1-.-1-.-1-.-5-.-"),
        "3/4": ("1-----------", "1---5---5---", "1---3---5---"),
    },
    figures={
        "4/4": ("C---------------", "C-c-c-c-C-c-c-c-", "..c-c-c-..c-c-c-", "1-2-3-2-1-2-3-2-"),
        "3/4": ("C-----------", "....c---c---", "1-2-3-2-3-2-"),
    },
    bass_centre=45,
    lead=LeadStyle(("calm", "moving", "sparse"), pentatonic=0.0, leap=0.25, rest_bars=0.05),
    chord_level=70,
)

ORCHESTRAL = Style(
    name="orchestral",
    names=("orchestral", "cinematic orchestra", "film score", "symphonic music", "epic orchestral music"),
    moods=("epic", "heroic", "dramatic", "majestic", "noble", "adventurous"),
    bpm=(66, 140),
    modes=("minor", "major", "dorian", "lydian"),
    metres=("4/4", "4/4", "3/4", "6/8"),
    progressions={
        "major": ("1 4 1 5", "1 5 6 4", "1 2 4 1", "6 4 1 5", "1 3 4 5"),
        "minor": ("1 6 3 7", "1 6 7 1", "1 4 6 5M", "6 7 1 1", "1 7 6 5M"),
    },
    leads=("french horn", "trumpet", "strings", "oboe", "flute", "violin"),
    chords=("strings", "pizzicato strings", "harp", "brass"),
    basses=("contrabass", "cello", "trombone"),
    pads=("strings", "slow strings", "choir", "french horn"),
    kits=("orchestral percussion",),
    presence={"pad": 0.85, "drums": 0.7},
    grooves={
        "4/4": (
            ("k x.......x.......", "s ............o.oo"),
            ("k x.......x...x...", "s ....o.....o.o..."),
            ("k x.....x.x.....x.", "C x...............|................"),
        ),
        "3/4": (("k x...........", "s ....o...o..."), ("k x.......x...",)),
        "6/8": (("k x..x..", "s ..o..o"), ("k x.....",)),
    },
    bass_lines={
        "4/4": ("1---------------", "1-------1-------", "1-1-1-1-1-1-1-1-", "1-----1-5-----5-"),
        "3/4": ("1-----------", "1---1---1---"),
        "6/8": ("1-----", "1--1--", "11.11."),
    },
    figures={
        "4/4": ("C-c-c-c-C-c-c-c-", "1-2-3-2-1-2-3-2-", "CcccCcccCcccCccc", "C-------C-------", "C-.C-.C-C-.C-.C-"),
        "3/4": ("C---c---c---", "1-2-3-2-3-2-", "C-c-c-C-c-c-"),
        "6/8": ("CccCcc", "123123", "C-cC-c"),
    },
    bass_centre=40,
    lead=LeadStyle(("calm", "sparse", "moving"), pentatonic=0.2, leap=0.35),
    fills=0.6,
)

PIANO = Style(
    name="solo piano",
    names=("solo piano", "piano ballad", "solo piano piece", "piano solo", "modern classical piano"),
    moods=("intimate", "tender", "melancholic", "peaceful", "reflective", "romantic"),
    bpm=(56, 120),
    modes=("major", "minor", "lydian", "dorian"),
    metres=("4/4", "3/4", "6/8", "4/4"),
    progressions={
        "major": ("1 5 6 4", "1 3 4 5", "4 5 3 6", "6 4 1 5", "1 6 4 5"),
        "minor": ("1 6 3 7", "1 7 6 5M", "1 4 6 5M", "1 3 6 7"),
    },
    chord_sizes=(3, 3, 4),
    leads=("piano",),
    chords=("piano",),
    figures={
        "4/4": ("B-1-2-1-3-1-2-1-", "B---1-2-3---2-1-", "B-------C-------", "B---C---C---C---", "B-123-21B-123-21"),
        "3/4": ("B---C---C---", "B-1-2-3-2-1-"),
        "6/8": ("B12321", "B-12-3", "B--C--"),
    },
    lead=LeadStyle(("calm", "moving", "sparse"), pentatonic=0.2, leap=0.3),
    chord_centre=55,
    chord_level=66,
)

WALTZ = Style(
    name="waltz",
    names=("waltz", "musette waltz", "ballroom waltz", "accordion waltz"),
    moods=("graceful", "nostalgic", "whirling", "charming", "old-fashioned"),
    bpm=(90, 180),
    modes=("major", "minor"),
    metres=("3/4",),
    progressions={
        "major": ("1 1 5 5", "1 6 2 5", "1 4 5 1", "5 1 5 1"),
        "minor": ("1 1 5M 5M", "1 4 5M 1", "4 1 5M 1", "1 6 2 5M"),
    },
    leads=("accordion", "violin", "clarinet", "flute", "piano"),
    chords=("piano", "accordion", "pizzicato strings", "jazz guitar"),
    basses=("acoustic bass", "contrabass"),
    kits=("brushed drums",),
    presence={"drums": 0.4},
    grooves={"3/4": (("k x...........", "s ....o...o..."), ("k x...........", "p ....x...x..."))},
    bass_lines={"3/4": ("1---....----", "1---........|5---........")},
    figures={"3/4": ("....C-..C-..", "....C---c---")},
    lead=LeadStyle(("calm", "moving"), pentatonic=0.0, leap=0.3, rest_bars=0.0),
)

ACOUSTIC = (JAZZ, BOSSA, FOLK, CELTIC, QUARTET, ORCHESTRAL, PIANO, WALTZ)
