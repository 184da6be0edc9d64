// A stream of the bridge, played with while it sounds. As a promise it is done when it is over.
DawBridgeStream : DawBridgePromise {
	var <bridge, <request, <number, <seed, <words, <phase = \asked, <answer, <progress, <events, whenNumbered;

	*new { |bridge, path, positional, args, action, onError|
		^this.later(bridge, path, action, onError).prOpen(positional, args)
	}

	// One that is asked for only when prOpen is called.
	*later { |bridge, path, action, onError|
		^super.new(action, onError).prInitStream(bridge, path)
	}

	prInitStream { |argBridge, path|
		bridge = argBridge;
		events = IdentityDictionary.new;
		request = DawBridgeRequest(bridge, path, { |found| this.prEnded(found) }, { |thrown| this.prBroken(thrown) });
		request.owner = this
	}

	prOpen { |positional, args|
		request.send(positional, args)
	}

	// What action functions are called with and wait returns: the stream itself.
	result { ^this }

	// The file of its take; nil where none was written.
	path { ^answer !? { if(answer.path.isEmpty) { nil } { answer.path } } }

	// Length of what was made, in seconds.
	seconds { ^answer !? { answer.seconds } }

	isPlaying { ^this.isOver.not and: { phase === \sounding } }

	// Inside a Routine: until the engine has accepted it (\queued) or it is heard (\sounding).
	waitUntil { |argPhase = \sounding, seconds|
		this.prAwait(seconds, { this.isOver or: { this.prReached(argPhase) } });
		if(this.isFailed) { heard = true; error.throw };
	}

	// Changes it while it plays: stream.set(\prompt, "brass", \temperature, 0.8). All parameters of /bridge/update, and \level.
	set { |... pairs| ^this.change(pairs) }

	// As set, over so many beats.
	morph { |beats ... pairs| ^this.change(pairs ++ [\morph, beats]) }

	// As set, with the pairs as one Array or Event, and with action functions.
	change { |args, action, onError|
		var pairs = DawBridgeTable.eventOf(args), level;
		level = pairs.removeAt(\level);
		level !? {
			if(pairs.isEmpty) { ^this.prAsk('/bridge/level', [level], nil, action, onError) };
			this.level_(level)
		};
		^this.prAsk('/bridge/update', nil, pairs, action, onError)
	}

	// How much each of its prompts counts: one number for each, at once, as faders do.
	weights { |... values| ^this.prAsk('/bridge/weights', values.flat) }

	// Playback level in dB.
	level_ { |decibels| this.prAsk('/bridge/level', [decibels]) }

	// Fades it out and ends it; what it made is kept where it is saved.
	free { |action, onError|
		if(this.isOver) { ^this };
		^this.prAsk('/bridge/cancel', nil, nil, action, onError)
	}

	// A new stream in its place, as it was some bars ago.
	rewind { |bars = 1, args, action, onError| ^this.prNext('/bridge/rewind', [bars], args, action, onError) }

	// Another way from a bar of it on.
	branch { |bar, args, action, onError| ^this.prNext('/bridge/branch', [bar], args, action, onError) }

	// A new stream in its place, without its last change.
	undo { |args, action, onError| ^this.prNext('/bridge/undo', [], args, action, onError) }

	// How its governor stands, or, with args, how it shall.
	govern { |args, action, onError| ^this.prAsk('/bridge/govern', nil, args, action, onError) }

	// Keeps how it sounds now as a scene.
	keepScene { |name, args, action, onError|
		var pairs = DawBridgeTable.eventOf(args);
		pairs[\stream] = this.prNumber;
		^bridge.ask('/bridge/scene/keep', [name], pairs, action, onError)
	}

	// The last event of a name that it had, such as \scheduled, \lock or \governor.
	lastEvent { |name| ^events[name] }

	printOn { |stream| stream << this.class.name << "(" << (number ? "-") << ", " << if(this.isOver) { state } { phase } << ")" }

	prPath { ^request.path }

	prUnheard { bridge.prUnheard(error) }

	prNumber {
		if(number.isNil) {
			DawBridgeError(\unknown_stream, "the stream has no number yet; wait until it is queued", this.prPath).throw
		};
		^number
	}

	prNext { |path, positional, args, action, onError|
		var own = this.prNumber;
		^DawBridgeStream(bridge, path, [own] ++ positional, args, action, onError)
	}

	prAsk { |path, positional, args, action, onError|
		var asked = DawBridgeRequest(bridge, path, action, onError);
		this.prWhenNumbered({ asked.send([number] ++ positional, args) }, { asked.prFail(error) });
		^asked
	}

	prWhenNumbered { |func, otherwise|
		case
		{ number.notNil } { func.value }
		{ this.isFailed } { otherwise.value }
		{ whenNumbered = whenNumbered.add([func, otherwise]) }
	}

	prReached { |argPhase|
		var order = #[\asked, \queued, \sounding];
		^order.indexOf(phase) >= (order.indexOf(argPhase) ? 0)
	}

	prEvent { |key, event|
		events[key] = event;
		switch(key,
			\queued, { this.prQueued(event) },
			\sounding, { phase = \sounding },
			\progress, { progress = event }
		);
		condition.signalAll;
		this.changed(key, event)
	}

	prQueued { |event|
		number = event.stream;
		seed = event.seed;
		words = event.words;
		phase = \queued;
		whenNumbered.do { |each| each[0].value };
		whenNumbered = nil
	}

	prEnded { |found|
		answer = found;
		number = number ? found.stream;
		seed = found.seed;
		bridge.prOver(this);
		this.prFinish;
		this.changed(\over, found)
	}

	prFinish { this.prDone(this) }

	prBroken { |thrown|
		bridge.prOver(this);
		this.prFail(thrown);
		whenNumbered.do { |each| each[1].value };
		whenNumbered = nil
	}
}
