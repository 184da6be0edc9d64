// What a musician asks for, in the manners of sclang.
+ DawBridge {
	// A piece from words: a DawBridgeTake. args: as /bridge/play takes them, such as \duration, \seed, \bpm, \key.
	generate { |prompt, args, server, action, onError|
		^this.take('/bridge/play', [prompt], args, server, action, onError)
	}

	// As generate, heard through the bridge's own output as it is made; \save, 0 leaves no file.
	play { |prompt, args, action, onError|
		^this.stream('/bridge/play', [prompt], args, action, onError)
	}

	// A stream without an end: a DawBridgeStream. args: as /bridge/open takes them. Several prompts are an Array.
	open { |prompt = "", args, action, onError|
		^this.stream('/bridge/open', [prompt], args, action, onError)
	}

	// Goes on from a Buffer, or from an audio file: a DawBridgeTake of what is new.
	// args: as /bridge/continue takes them; of a Buffer also \startFrame and \numFrames.
	continue { |source, prompt = "", args, server, action, onError|
		var take = DawBridgeTake.later(this, '/bridge/continue', action, onError, server);
		try {
			var pairs = DawBridgeTable.eventOf(args);
			pairs[\prompt] = prompt;
			this.prContinue(take, source, pairs)
		} { |thrown| take.prBroken(thrown) };
		^take
	}

	// Notes for any request that has a parameter `notes`; see DawBridgeNotes.new.
	notes { |source, args, action, onError|
		^DawBridgeNotes(this, source, args, action, onError)
	}

	// A piece that follows a melody: of a Pattern, a list of notes, a Buffer, or a MIDI or audio file. A DawBridgeTake.
	// noteArgs: how the melody is read, as in notes.
	melody { |source, prompt = "", args, noteArgs, server, action, onError|
		var held = if(source.isKindOf(DawBridgeNotes)) { source } { this.notes(source, noteArgs, onError: { }) };
		^this.take('/bridge/play', [prompt], DawBridgeTable.pairsOf(args) ++ [\notes, held], server, action, onError)
	}

	// A piece that follows a MIDI file, its tempo and its key. A DawBridgeTake.
	followClip { |path, args, server, action, onError|
		^this.take('/bridge/midi', [path.asString.standardizePath], args, server, action, onError)
	}

	// Playback level in dB of everything that the bridge plays.
	level_ { |decibels| this.ask('/bridge/level', [0, decibels]) }

	// Sets the bridge's clock, or asks how it stands: done with an Event.
	clock { |args, action, onError| ^this.ask('/bridge/clock', [], args, action, onError) }

	// Changes every stream of the bridge at once; those of other hosts, too.
	update { |args, action, onError| ^this.ask('/bridge/update', [0], args, action, onError) }

	// Lets a TempoClock lead the bridge's beats and bars: a DawBridgeClock.
	follow { |clock, server| ^DawBridgeClock(this, clock, server) }

	loop { |layer = 1| ^DawBridgeLoop(layer, this) }
	pad { |name| ^DawBridgePad(name, this) }
	scene { |name| ^DawBridgeScene(name, this) }

	// Writes a Buffer, or a part of it (frames), to a file that the bridge may read. Done with the path.
	writeBuffer { |buffer, startFrame = 0, numFrames = -1, action, onError|
		var written = DawBridgePromise(action, onError);
		var fail = { |thrown| written.prFail(thrown) };
		this.exchangePath({ |path|
			DawBridgeBufferJob.write(buffer, path, startFrame, numFrames, { written.prDone(path) }, fail)
		}, fail);
		^written
	}

	// A fresh path in the folder that audio is handed over in. Done with the path.
	exchangePath { |action, onError|
		var found = DawBridgePromise(action, onError);
		this.ask('/bridge/exchange', ["wav"], nil, { |answer| found.prDone(answer.path) }, { |thrown| found.prFail(thrown) });
		^found
	}

	prContinue { |take, source, pairs|
		if(source.isKindOf(Buffer).not) { ^take.prOpen([source.asString.standardizePath], pairs) };
		this.writeBuffer(source, pairs.removeAt(\startFrame) ? 0, pairs.removeAt(\numFrames) ? -1,
			{ |path| take.prOpen([path], pairs) }, { |thrown| take.prBroken(thrown) })
	}
}
