// What is checked before anything is sent.
TestDawBridgeSchema : UnitTest {
	test_everyAddressAndEventIsRead {
		this.assert(DawBridgeSchema.addresses.size > 60, "addresses are there");
		this.assert(DawBridgeSchema.events.includesKey('/bridge/sounding'), "events are there");
		this.assert(DawBridgeSchema.addresses.every { |table| table.meaning.notEmpty }, "each says what it does");
		this.assert(DawBridgeSchema.settings.includesKey(\temperature), "settings are there")
	}

	test_kinds {
		var table = DawBridgeSchema.at('/bridge/play');
		var sent = table.message(["dub"], [\duration, 8, \seed, 3.0, \sound, false, \format, \flac]);
		this.assertEquals(sent, ["dub", \duration, 8.0, \seed, 3, \sound, 0, \format, "flac"], "names keep their order");
		this.assertEquals(sent.collect(_.class), [String, Symbol, Float, Symbol, Integer, Symbol, Integer, Symbol, String], "ints stay ints")
	}

	test_manyPromptsAndWeights {
		var sent = DawBridgeSchema.at('/bridge/open').message([["a", "b"]], (weights: [0.3, 1]));
		this.assertEquals(sent, ["a || b", \weights, "0.3 1"])
	}

	test_aClockGivesItsTempo {
		// The default one: a clock that is made and stopped at once can end sclang itself.
		var clock = TempoClock.default, before = clock.tempo;
		clock.tempo = 1.5;
		this.assertEquals(DawBridgeSchema.at('/bridge/open').message(["a"], [\bpm, clock]), ["a", \bpm, 90.0]);
		clock.tempo = before
	}

	test_whatIsLeftOutIsNotSent {
		this.assertEquals(DawBridgeSchema.at('/bridge/play').message(["a"], [\seed, nil, \bpm, 90]), ["a", \bpm, 90.0])
	}

	test_mistakesAreNamed {
		var play = DawBridgeSchema.at('/bridge/play');
		this.refused({ play.message(["a"], [\duration, 9000]) }, \out_of_range);
		this.refused({ play.message(["a"], [\duration, "long"]) }, \bad_type);
		this.refused({ play.message(["a"], [\tempo, 90]) }, \unknown_parameter);
		this.refused({ play.message([], nil) }, \missing);
		this.refused({ play.message(["a"], [\seed]) }, \malformed);
		this.refused({ play.message(["a"], [\format, \mp3]) }, \out_of_range);
		this.refused({ DawBridgeSchema.at('/bridge/nothing') }, \unknown_address)
	}

	test_spec {
		var spec = DawBridgeSchema.spec('/bridge/open', \temperature);
		this.assertEquals([spec.minval, spec.maxval, spec.default], [0, 4, 1.0]);
		this.assertEquals(DawBridgeSchema.spec('/bridge/open', \prompt), nil, "a text has none")
	}

	test_methodsOfItsOwn {
		// A request that took a method's name from all objects would break more than itself.
		var taken = DawBridge.methods.select { |method|
			method.filenameSymbol.asString.endsWith("DawBridgeRequests.sc") and: { Object.findMethod(method.name).notNil }
		};
		this.assertEquals(taken.collect(_.name).asArray, [\stop], "none but one that means the same to all that plays")
	}

	test_helpIsRead {
		var root = DawBridge.filenameSymbol.asString.dirname.dirname;
		(root +/+ "HelpSource/*/*.schelp").pathMatch.do { |path|
			this.assert(SCDoc.parseFileFull(path).notNil, "% is read".format(path.basename))
		};
		[DawBridge, DawBridgeTake, DawBridgeStream, DawBridgeNotes, DawBridgeClock, DawBridgeLoop, DawBridgePad].do { |each|
			this.assert(File.exists(root +/+ "HelpSource/Classes/%.schelp".format(each.name)), "% has a page".format(each.name))
		}
	}

	refused { |func, code|
		var found;
		try { func.value } { |error| found = error.code };
		this.assertEquals(found, code, "refused as %".format(code))
	}
}
