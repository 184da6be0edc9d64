// Notes as they are rendered from Patterns and Arrays: [pitch, start, length, velocity] in beats.
TestDawBridgeNotes : UnitTest {
	test_degreesAndRests {
		var notes = DawBridgeNotes.fromPattern(Pbind(\degree, Pseq([0, Rest(1), 2]), \dur, 0.5, \legato, 1));
		this.assertEquals(notes, [[60, 0, 0.5, 100], [64, 1.0, 0.5, 100]])
	}

	test_chords {
		var notes = DawBridgeNotes.fromPattern(Pbind(\midinote, Pseq([[60, 64, 67]]), \dur, 2, \legato, 1, \velocity, 80));
		this.assertEquals(notes, [[60, 0, 2, 80], [64, 0, 2, 80], [67, 0, 2, 80]])
	}

	test_voicesSideBySide {
		var upper = Pbind(\midinote, Pseq([72, 74]), \dur, 1, \legato, 1), lower = Pbind(\midinote, Pseq([48]), \dur, 2, \legato, 1);
		var notes = DawBridgeNotes.fromPattern(Ppar([upper, lower])).sort { |a, b| a[0] < b[0] };
		this.assertEquals(notes.collect(_.first), [48, 72, 74]);
		this.assertEquals(notes.collect(_.at(1)), [0, 0, 1])
	}

	test_scaleAndTransposition {
		var notes = DawBridgeNotes.fromPattern(Pbind(\degree, Pseq([0, 2]), \scale, Scale.minor, \root, 2, \ctranspose, 12));
		this.assertEquals(notes.collect(_.first), [74, 77])
	}

	test_frequencies {
		this.assertEquals(DawBridgeNotes.fromPattern(Pbind(\freq, Pseq([440, 220]))).collect(_.first), [69, 57])
	}

	test_amplitude {
		this.assertEquals(DawBridgeNotes.fromPattern(Pbind(\amp, Pseq([1.0]))).first.last, 127.0)
	}

	test_endless {
		this.assertEquals(DawBridgeNotes.fromPattern(Pbind(\degree, Pwhite(0, 7, inf), \dur, 0.25), 16).size, 64);
		this.assertEquals(DawBridgeNotes.fromPattern(Pbind(\dur, 0.001), 1000).size, DawBridgeNotes.most, "never more than fit")
	}

	test_arrays {
		this.assertEquals(DawBridgeNotes.midinotes([60, nil, [64, 67]], [1, 0.5]), [[60, 0, 1, 100], [64, 1.5, 1, 100], [67, 1.5, 1, 100]]);
		this.assertEquals(DawBridgeNotes.degrees([0, 4], 1, Scale.minor).collect(_.first), [60.0, 67.0])
	}
}
