// A piece with an end. Done when it is whole: its file, and its sound in a Buffer where a server runs.
DawBridgeTake : DawBridgeStream {
	var <server, <buffer;

	// server: whose Buffer it is read into, the default one where nil; false for the file alone.
	*new { |bridge, path, positional, args, action, onError, server|
		^this.later(bridge, path, action, onError, server).prOpen(positional, args)
	}

	*later { |bridge, path, action, onError, server|
		^super.later(bridge, path, action, onError).prInitTake(server)
	}

	prInitTake { |argServer|
		server = argServer ?? { Server.default }
	}

	// It is heard from the Buffer, so the bridge itself is silent unless it is asked with \sound, 1.
	prOpen { |positional, args|
		try {
			var pairs = DawBridgeTable.eventOf(args);
			if(pairs[\sound].isNil and: { DawBridgeSchema.at(this.prPath).has(\sound) }) { pairs[\sound] = 0 };
			super.prOpen(positional, pairs)
		} { |thrown| this.prBroken(thrown) }
	}

	// Hz, of its file and so of its Buffer, which may not be the server's.
	sampleRate { ^buffer !? { buffer.sampleRate } }

	// Plays the Buffer, at its own pitch whatever the server's sample rate. Give \loop, \amp, \out, \rate, \start (seconds).
	play { |... args|
		var pairs = args.asEvent, channels;
		if(buffer.isNil) { DawBridgeError(\empty, "the take has no Buffer: is a server running?", this.prPath).throw };
		channels = buffer.numChannels;
		^{ |amp = 1, rate = 1|
			var sound = PlayBuf.ar(channels, buffer, BufRateScale.kr(buffer) * rate, 1,
				(pairs[\start] ? 0) * buffer.sampleRate, (pairs[\loop] ? 0).asDawBridgeValue, 2);
			if(channels == 1) { sound ! 2 } { sound } * amp
		}.play(server, pairs[\out] ? 0, 0.005, args: pairs.getPairs(#[\amp, \rate]))
	}

	// Reads it, whole, into a Buffer of another server, or of one that runs only now. A DawBridgeBufferJob.
	read { |argServer, action, onError|
		^DawBridgeBufferJob.read(argServer ? server, this.path, action, onError)
	}

	// Ends it while it is made; the Buffer of one that is whole is given back.
	free { |action, onError|
		if(this.isOver.not) { ^super.free(action, onError) };
		buffer !? { buffer.free };
		buffer = nil
	}

	prFinish {
		if(server == false or: { this.path.isNil } or: { server.serverRunning.not }) { ^this.prDone(this) };
		this.read(server, { |found| buffer = found; this.prDone(this) }, { |thrown| this.prFail(thrown) })
	}
}
