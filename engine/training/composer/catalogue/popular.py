"""Styles for bands: rock, funk, lo-fi hip hop, reggae, metal, blues, disco, country, pop, latin."""

from __future__ import annotations

from fractions import Fraction

from engine.training.composer.style import STRAIGHT, LeadStyle, Style

ROCK = Style(
    name="rock",
    names=("rock", "rock band", "classic rock", "alternative rock", "indie rock"),
    moods=("driving", "energetic", "raw", "anthemic", "gritty", "confident"),
    bpm=(96, 152),
    modes=("minor", "mixolydian", "major", "dorian"),
    progressions={
        "major": ("1 5 6 4", "1 7 4 1", "1 4 5 4", "6 4 1 5", "1 4 1 5"),
        "minor": ("1 6 3 7", "1 7 6 7", "1 4 7 3", "1 1 6 7", "1 3 4 6"),
    },
    chord_sizes=(2, 2, 3),
    leads=("overdriven guitar", "distorted guitar", "clean electric guitar", "rock organ"),
    chords=("overdriven guitar", "distorted guitar", "clean electric guitar"),
    basses=("picked bass", "fingered bass"),
    pads=("rock organ",),
    kits=("power drums", "drums", "room drums"),
    presence={"pad": 0.25},
    grooves={
        "4/4": (
            ("k X.......X.......", "s ....X.......X...", "h x.x.x.x.x.x.x.x."),
            ("k X.....x.X.......", "s ....X.......X...", "h x.x.x.x.x.x.x.x."),
            ("k X.......x.x.....", "s ....X.......X...", "R x.x.x.x.x.x.x.x."),
            ("k X..x....X.x.....", "s ....X.......X...", "o x...x...x...x..."),
        )
    },
    bass_lines={"4/4": ("1-1-1-1-1-1-1-1-", "1-----1-1-------", "1-1-1-1-1-1-5-a-", "1--1--1-1--1--1-")},
    figures={
        "4/4": ("C-------C-------", "C-c-c-c-C-c-c-c-", "C--C--C-....C-C-", "C---..C-C---..C-", "C---------------")
    },
    lead=LeadStyle(("calm", "moving", "syncopated"), pentatonic=0.8, leap=0.25, rest_bars=0.15),
    chord_centre=52,
    chord_level=84,
)

METAL = Style(
    name="metal",
    names=("metal", "heavy metal", "thrash metal", "hard rock metal"),
    moods=("aggressive", "heavy", "dark", "intense", "fierce", "powerful"),
    bpm=(110, 180),
    modes=("minor", "phrygian", "minor"),
    progressions={"major": ("1 1 4 5",), "minor": ("1 1 6 7", "1 1 2 1", "1 6 7 1", "1 1 1 2", "1 6 4 5", "1 3 2 1")},
    chord_sizes=(2,),
    leads=("distorted guitar", "overdriven guitar"),
    chords=("distorted guitar",),
    basses=("picked bass",),
    kits=("power drums",),
    grooves={
        "4/4": (
            ("k XxxxXxxxXxxxXxxx", "s ....X.......X...", "R x...x...x...x..."),
            ("k X.xxX.xxX.xxX.xx", "s ....X.......X...", "h x...x...x...x..."),
            ("k X..x..x.X..x..x.", "s ....X.......X...", "o x...x...x...x..."),
            ("k X.......X..x....", "s ........X.......", "C x...x...x...x..."),
        )
    },
    bass_lines={"4/4": ("1-111-111-111-11", "1-1-1-1-1-1-1-1-", "1111111111111111", "1--1--1-1--1--1-")},
    figures={
        "4/4": ("C.ccC.ccC.ccC.cc", "CcccCcccCcccCccc", "C-------C-------", "C..c..c.C..c..c.", "C-cc....C-ccC-cc")
    },
    chord_articulation=0.8,
    lead=LeadStyle(("busy", "moving", "calm"), pentatonic=0.4, leap=0.3, rest_bars=0.1),
    chord_centre=46,
    bass_centre=34,
    chord_level=90,
)

FUNK = Style(
    name="funk",
    names=("funk", "funk band", "groovy funk", "70s funk"),
    moods=("groovy", "tight", "funky", "sassy", "upbeat", "danceable"),
    bpm=(88, 120),
    modes=("dorian", "mixolydian", "minor"),
    progressions={
        "major": ("1 1 4 1", "1 1 1 1", "1 4 1 5", "1 7 4 1"),
        "minor": ("1 1 4 4", "1 1 1 1", "1 4 1 4", "1 1 7 4", "1 3 4 1"),
    },
    chord_sizes=(4, 5),
    leads=("tenor saxophone", "brass", "trumpet", "clavinet", "drawbar organ", "alto saxophone"),
    chords=("clavinet", "muted guitar", "electric piano", "drawbar organ"),
    basses=("slap bass", "fingered bass"),
    pads=("drawbar organ", "strings"),
    kits=("drums", "room drums"),
    presence={"pad": 0.15},
    grooves={
        "4/4": (
            ("k X..x......x..x..", "s ....X..g.g..X..g", "h xoxoxoxoxoxoxoxo"),
            ("k X.x...x...x.....", "s ....X..g.g..X...", "h x.xox.xox.xox.xo"),
            ("k X..x..x...x.....", "s ....X.......X..g", "h xoxoxoxoxoxoxox.", "o ..............x."),
        )
    },
    bass_lines={"4/4": ("1..1..8.1..5..7a", "1..81..8..1.7.8.", "1.1...8..7.8..5.", "1..1.8...1.3.5.a")},
    figures={
        "4/4": ("..C.C..C..C.C..C", "C...C.C.....C.C.", ".C.C..C..C.C..C.", "....C..C....C...", "ccCcccCcccCcccCc")
    },
    chord_articulation=0.7,
    lead=LeadStyle(("syncopated", "syncopated", "busy"), pentatonic=0.7, articulation=0.8, rest_bars=0.3),
    swings=(STRAIGHT, Fraction(9, 16)),
    swing_unit=Fraction(1, 2),
)

LOFI = Style(
    name="lo-fi hip hop",
    names=("lo-fi hip hop", "lofi beat", "chill lo-fi hip hop", "lofi study beat"),
    moods=("chill", "mellow", "sleepy", "cozy", "nostalgic", "laid-back"),
    bpm=(68, 94),
    modes=("major", "minor", "dorian"),
    progressions={
        "major": ("2 5 1 6", "1 6 2 5", "4 3 2 1", "1 3 4 4", "4 5 3 6"),
        "minor": ("1 4 7 3", "1 6 4 5", "6 7 1 1", "1 7 6 7", "4 7 3 6"),
    },
    chord_sizes=(4, 5, 5),
    leads=("electric piano", "vibraphone", "nylon guitar", "flute", "jazz guitar", "kalimba", "muted trumpet"),
    chords=("electric piano", "piano", "fm electric piano", "jazz guitar"),
    basses=("fingered bass", "acoustic bass", "deep synth bass"),
    pads=("warm pad", "slow strings"),
    kits=("drums", "room drums", "jazz drums"),
    presence={"pad": 0.4},
    grooves={
        "4/4": (
            ("k x.....x.x.......", "s ....x.......x...", "h x.o.x.o.x.o.x.o."),
            ("k x..x......x.....", "r ....x.......x...", "h x.oox.oox.oox.oo"),
            ("k x.......x.x.....|x..x....x.......", "s ....x.......x..g", "h o.x.o.x.o.x.o.x."),
        )
    },
    bass_lines={"4/4": ("1-----1-5-------", "1-------..5-8---", "1--1------5---a-", "1---------------")},
    figures={
        "4/4": ("C-------C-------", "C-----C---......", "C---..C-..C-....", "C---------c-----", "0-1-2-3-C-------")
    },
    lead=LeadStyle(("calm", "sparse", "syncopated"), pentatonic=0.6, rest_bars=0.3),
    swings=(Fraction(9, 16), Fraction(5, 8), Fraction(2, 3)),
    swing_unit=Fraction(1, 2),
    fills=0.4,
    chord_level=68,
)

REGGAE = Style(
    name="reggae",
    names=("reggae", "roots reggae", "one-drop reggae", "dub reggae"),
    moods=("sunny", "laid-back", "easygoing", "warm", "relaxed", "island"),
    bpm=(66, 100),
    modes=("major", "minor", "mixolydian", "dorian"),
    progressions={
        "major": ("1 4 1 5", "1 5 6 4", "1 1 4 4", "1 2 4 5", "1 6 4 5"),
        "minor": ("1 4 1 4", "1 7 1 7", "1 1 4 4", "1 7 6 7", "1 6 7 1"),
    },
    leads=(
        "trombone",
        "trumpet",
        "harmonica",
        "tenor saxophone",
        "drawbar organ",
        "clean electric guitar",
        "steel drums",
    ),
    chords=("drawbar organ", "clean electric guitar", "piano"),
    basses=("fingered bass", "fretless bass"),
    kits=("drums", "room drums"),
    grooves={
        "4/4": (
            ("k ........X.......", "r ........X.......", "h x.x.x.x.x.x.x.x."),
            ("k ........X.......", "s ........X.......", "h x.oxx.oxx.oxx.ox"),
            ("k X...X...X...X...", "r ........X.......", "h ..x...x...x...x."),
        )
    },
    bass_lines={"4/4": ("1--1--3-5--5----", "1-1-..3-5-3-1---", "....1-1-5-5-3-1-", "1-----5-1-..5-3-")},
    figures={"4/4": ("....C.......C...", "..C...C...C...C.", "..C.c.C...C.c.C.")},
    chord_articulation=0.55,
    lead=LeadStyle(("calm", "sparse", "syncopated"), pentatonic=0.5, rest_bars=0.25),
    swings=(STRAIGHT, STRAIGHT, Fraction(5, 8)),
    fills=0.6,
    bass_centre=36,
)

BLUES = Style(
    name="blues",
    names=("blues", "slow blues", "blues shuffle", "chicago blues"),
    moods=("soulful", "gritty", "smoky", "raw", "laid-back", "weary"),
    bpm=(60, 126),
    modes=("mixolydian", "dorian", "mixolydian"),
    metres=("12/8",),
    progressions={
        "major": ("1 4 1 1", "4 4 1 1", "5 4 1 5", "1 1 4 1", "1 4 1 5"),
        "minor": ("1 4 1 1", "4 4 1 1", "1 1 4 5", "5 4 1 1"),
    },
    chord_sizes=(4,),
    leads=("clean electric guitar", "harmonica", "overdriven guitar", "piano", "drawbar organ", "tenor saxophone"),
    chords=("piano", "drawbar organ", "jazz guitar", "honky-tonk piano"),
    basses=("fingered bass", "acoustic bass"),
    kits=("drums", "room drums", "brushed drums"),
    grooves={
        "12/8": (
            ("k x.....x.....", "s ...X.....X..", "R x.xx.xx.xx.x"),
            ("k x.....x....o", "s ...X.....X..", "h xooxooxooxoo"),
            ("k x..x..x..x..", "s ...X.....X..", "h x.ox.ox.ox.o"),
        )
    },
    bass_lines={"12/8": ("1--3--5--6--", "1-13-35-57-5", "1--1--5--a--", "1--3--5--a--")},
    figures={"12/8": ("..C..C..C..C", "C-cC-cC-cC-c", "C-----..c---", "...C-....C-.", "CccCccCccCcc")},
    chord_articulation=0.8,
    lead=LeadStyle(("calm", "moving", "syncopated"), pentatonic=0.9, leap=0.25, rest_bars=0.3),
)

DISCO = Style(
    name="disco",
    names=("disco", "70s disco", "funky disco", "disco dance music"),
    moods=("glamorous", "danceable", "upbeat", "sparkling", "feel-good", "party"),
    bpm=(108, 130),
    modes=("minor", "dorian", "major"),
    progressions={
        "major": ("1 6 2 5", "4 3 2 5", "1 4 5 4"),
        "minor": ("1 4 7 3", "1 7 6 5", "1 4 1 5", "6 7 1 1", "1 3 4 5"),
    },
    chord_sizes=(3, 4),
    leads=("strings", "brass", "flute", "trumpet", "clean electric guitar"),
    chords=("clean electric guitar", "electric piano", "piano", "muted guitar"),
    basses=("fingered bass", "slap bass", "synth bass"),
    pads=("strings", "synth strings"),
    kits=("drums", "room drums"),
    presence={"pad": 0.6},
    grooves={
        "4/4": (
            ("k X...X...X...X...", "s ....X.......X...", "h x...x...x...x...", "o ..x...x...x...x."),
            ("k X...X...X...X...", "s ....X.......X...", "h xoxoxoxoxoxoxoxo", "o ..x...x...x...x."),
        )
    },
    bass_lines={"4/4": ("1-8-1-8-1-8-1-8-", "1.181.181.181.18", "1---8-1-..5-8-a-")},
    figures={"4/4": ("..CcC.Cc..CcC.Cc", "C..C..C...C.C...", "..C...C...C...C.", "ccCcccCcccCcccCc")},
    chord_articulation=0.7,
    lead=LeadStyle(("syncopated", "calm", "moving"), pentatonic=0.4, rest_bars=0.15),
)

COUNTRY = Style(
    name="country",
    names=("country", "country and western", "bluegrass country", "americana"),
    moods=("cheerful", "rustic", "easygoing", "bright", "honest", "sunny"),
    bpm=(88, 150),
    modes=("major", "major", "mixolydian"),
    metres=("4/4", "4/4", "3/4"),
    progressions={
        "major": ("1 1 4 5", "1 4 5 1", "1 5 1 4", "1 6 4 5", "4 1 5 1"),
        "minor": ("1 7 6 7",),
    },
    leads=("fiddle", "harmonica", "banjo", "clean electric guitar", "steel guitar"),
    chords=("steel guitar", "banjo", "honky-tonk piano"),
    basses=("acoustic bass", "fingered bass"),
    kits=("brushed drums", "drums"),
    grooves={
        "4/4": (
            ("k x.......x.......", "s ....x.......x...", "h x.x.x.x.x.x.x.x."),
            ("k x.......x.......", "s ..o.x.o...o.x.o.", "y ....x.......x..."),
        ),
        "3/4": (("k x...........", "s ....x...x...", "h x.x.x.x.x.x."),),
    },
    bass_lines={
        "4/4": ("1-------5-------", "1---....5---..a-", "1-------5---a---"),
        "3/4": ("1-------....", "1-----------|5-----------"),
    },
    figures={
        "4/4": ("....C-......C-..", "B---C-c-B---C-c-", "B-1-2-1-B-1-2-1-", "B-123-12B-123-12"),
        "3/4": ("B---C---C---", "....C-c-C-c-"),
    },
    lead=LeadStyle(("moving", "calm", "busy"), pentatonic=0.8, leap=0.2, rest_bars=0.1),
    chord_centre=57,
)

POP = Style(
    name="pop",
    names=("pop", "pop ballad", "modern pop", "acoustic pop"),
    moods=("catchy", "bright", "happy", "hopeful", "sweet", "uplifting"),
    bpm=(72, 128),
    modes=("major", "major", "minor"),
    metres=("4/4", "4/4", "4/4", "6/8"),
    progressions={
        "major": ("1 5 6 4", "6 4 1 5", "1 6 4 5", "4 1 5 6", "1 4 6 5"),
        "minor": ("1 6 3 7", "1 3 7 6", "6 7 1 1", "1 4 6 7"),
    },
    leads=("piano", "clean electric guitar", "bright piano", "flute", "strings", "saw lead", "violin"),
    chords=("piano", "steel guitar", "electric piano", "bright piano", "clean electric guitar"),
    basses=("fingered bass", "synth bass", "picked bass"),
    pads=("strings", "warm pad", "choir", "polysynth"),
    kits=("drums", "room drums", "power drums"),
    presence={"pad": 0.6},
    grooves={
        "4/4": (
            ("k X.......X.x.....", "s ....X.......X...", "h x.x.x.x.x.x.x.x."),
            ("k X.....x.X.......", "s ....X.......X...", "h xoxoxoxoxoxoxoxo"),
            ("k X..x..x...x.....", "c ....X.......X...", "h x.x.x.x.x.x.x.x."),
        ),
        "6/8": (("k X.....", "s ...X..", "h xooxoo"), ("k X....x", "s ...X..", "R x.xx.x")),
    },
    bass_lines={
        "4/4": ("1---------------", "1-1-1-1-1-1-1-1-", "1-----1-1-----5-", "1--1--1---------"),
        "6/8": ("1-----", "1--5--", "1-11--"),
    },
    figures={
        "4/4": ("C---C---C---C---", "C-------C-------", "B-1-2-1-3-1-2-1-", "C--C--C---C-C---"),
        "6/8": ("B12321", "CccCcc", "C--C--"),
    },
    lead=LeadStyle(("calm", "moving", "syncopated"), pentatonic=0.6, leap=0.2),
)

LATIN = Style(
    name="latin",
    names=("latin", "salsa", "cuban son", "afro-cuban music"),
    moods=("fiery", "festive", "sunny", "rhythmic", "passionate", "danceable"),
    bpm=(86, 120),
    modes=("minor", "major", "dorian"),
    progressions={
        "major": ("1 4 5 4", "1 2 5 1", "1/4 5/4 1/4 5/4", "1 6 2 5"),
        "minor": ("1 4 5M 4", "1 7 6 5M", "1 4 5M 1", "4 1 5M 1"),
    },
    chord_sizes=(3, 4),
    leads=("trumpet", "flute", "trombone", "piano", "brass"),
    chords=("piano", "nylon guitar"),
    basses=("acoustic bass", "fingered bass"),
    kits=("room drums", "drums"),
    grooves={
        "4/4": (
            ("q x..x..x...x.x...", "l ......xx......xx", "H ....x.......x...", "w x...x...x...x..."),
            ("q ..x.x...x..x..x.", "l ......xx......xx", "b xoxoxoxoxoxoxoxo", "k x.......x......."),
        )
    },
    bass_lines={"4/4": ("...1--1-...5--8-", "1-----5-....8---", "...1--5-----8---")},
    figures={"4/4": ("0-12.02.1.02.12.", "C.cC.c.C.c.C.cC.", "0.2.12.02.1.02.1", "C..C..C...C.C...")},
    chord_articulation=0.75,
    lead=LeadStyle(("syncopated", "moving", "calm"), pentatonic=0.2, rest_bars=0.25),
    chord_centre=66,
)

POPULAR = (ROCK, METAL, FUNK, LOFI, REGGAE, BLUES, DISCO, COUNTRY, POP, LATIN)
