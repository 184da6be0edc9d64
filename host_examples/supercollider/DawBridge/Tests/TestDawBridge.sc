// Against a bridge that runs: at DAW_BRIDGE_PORT of this machine, or at its usual port. No audio server is needed.
TestDawBridge : UnitTest {
	classvar bridge;

	*setUpClass {
		var port = "DAW_BRIDGE_PORT".getenv;
		bridge = DawBridge(\tests, port !? { NetAddr("127.0.0.1", port.asInteger) });
		bridge.waitUntilReady(30)
	}

	*tearDownClass { bridge.disconnect }

	test_statusAndVersion {
		this.assertEquals(bridge.version.wait(10).name, "bridge");
		this.assertEquals(bridge.updateStatus.wait(10).engine, "ready");
		this.assert(bridge.status.uptime > 0)
	}

	test_aTakeInARoutine {
		var take = bridge.generate("groove", [\duration, 0.5, \seed, 7], false).wait(60);
		this.assertEquals([take.seconds, take.seed, take.isDone], [0.5, 7, true]);
		this.assert(File.exists(take.path), "its file is there");
		this.assertEquals(take.answer.reason, \done);
		this.assertEquals(take.buffer, nil)
	}

	test_aTakeWithActions {
		var done = CondVar(), found, failure;
		bridge.generate("groove", (duration: 0.5), false, { |take| found = take; done.signalAll });
		bridge.generate("groove", (duration: -1), false, onError: { |error| failure = error; done.signalAll });
		done.waitFor(60, { found.notNil and: { failure.notNil } });
		this.assert(found.isDone);
		this.assertEquals(failure.code, \out_of_range)
	}

	test_lists {
		this.assert(bridge.templates.wait(10).every { |row| row.name.isString }, "rows are Events");
		this.assertEquals(bridge.loops.wait(10).class, Array)
	}

	test_refusalsOfTheBridge {
		var failure;
		try { bridge.ask('/bridge/level', [99999, 0]).wait(10) } { |error| failure = error };
		this.assertEquals(failure.code, \unknown_stream);
		this.assertEquals(failure.address, '/bridge/level')
	}

	test_aStream {
		var stream = bridge.open(["drone", "brass"], (sound: false)), states = List.new;
		var watcher = SimpleController(stream).put(\queued, { states.add(\queued) }).put(\over, { states.add(\over) });
		stream.set(\temperature, 0.5); // before it has a number: it is changed as soon as it has
		stream.waitUntil(\queued, 20);
		stream.weights(0.1, 0.9).wait(10);
		stream.morph(4, \prompt, "harp").wait(10);
		this.assert(bridge.streams.wait(10).any { |row| row.stream == stream.number });
		stream.free.wait(10);
		stream.wait(20);
		watcher.remove;
		this.assertEquals(states.asArray, [\queued, \over]);
		this.assertEquals(stream.answer.reason, \cancelled)
	}

	test_notes {
		var notes = bridge.notes(Pbind(\degree, Pseq((0..7), 8), \dur, 0.5), (bpm: 96)).wait(10);
		this.assertEquals([notes.count, notes.notes.size], [64, 64]);
		notes.free.wait(10);
		this.assertEquals(this.codeOf { bridge.generate("x", [\notes, notes], false).wait(20) }, \not_found)
	}

	test_settings {
		var before = bridge.param(\guidance), told = CondVar();
		var watcher = SimpleController(bridge).put(\param, { told.signalAll });
		bridge.param(\guidance, 4.5);
		told.waitFor(10, { bridge.param(\guidance) == 4.5 });
		this.assertEquals(bridge.param(\guidance), 4.5);
		bridge.param(\guidance, before);
		watcher.remove
	}

	test_nobodyThere {
		var nobody = DawBridge(\nobody, NetAddr("127.0.0.1", 9)).timeout_(1).onError_({ });
		this.assertEquals(this.codeOf { nobody.updateStatus.wait(20) }, \timeout);
		this.assertEquals(this.codeOf { nobody.waitUntilReady(1) }, \not_connected);
		this.assertEquals(this.codeOf { nobody.generate("x").wait(20) }, \not_connected);
		nobody.disconnect
	}

	test_outsideARoutine {
		var failure, done = CondVar();
		AppClock.sched(0, {
			// Of the clock's own thread, where nothing can wait.
			failure = this.codeOf { DawBridgePromise(nil, { }).wait };
			done.signalAll;
			nil
		});
		done.waitFor(5, { failure.notNil });
		this.assertEquals(failure, \not_a_routine)
	}

	codeOf { |func|
		var found = \none;
		try { func.value } { |error| found = error.code };
		^found
	}
}
