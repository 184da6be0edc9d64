// Notes that the bridge keeps under a name, for any request that has a parameter `notes`. Done when the bridge holds them.
DawBridgeNotes : DawBridgePromise {
	classvar <>most = 2048, <>page = 40;
	var <bridge, <name, <notes, <count = 0, <answer;

	// source: a Pattern, a list of [pitch, start, length, velocity] in beats, a Buffer, or the path of a MIDI or audio file.
	// args: of /bridge/notes/begin, such as \bpm, \length and \lead; of a Pattern also \beats, how much of it is taken;
	// of a Buffer or an audio file those of /bridge/notes/audio.
	*new { |bridge, source, args, action, onError|
		^super.new(action, onError).prInitNotes(bridge, source, args)
	}

	// Notes from MIDI note numbers, an Array in place of one for a chord, nil or \rest for silence; durations in beats.
	*midinotes { |numbers, durations = 1, velocity = 100, legato = 1|
		var start = 0, found = [];
		numbers.do { |each, i|
			var length = durations.asArray.wrapAt(i);
			each.asArray.do { |number|
				if(number.isNumber) { found = found.add([number, start, length * legato, velocity.asArray.wrapAt(i)]) }
			};
			start = start + length
		};
		^found
	}

	// Notes from degrees of a scale, as in a Pbind.
	*degrees { |degrees, durations = 1, scale, root = 0, octave = 5, velocity = 100, legato = 1|
		var midi = { |degree| degree.isNumber.if({ (degree.degreeToKey(scale ? Scale.major) + root) + (octave * 12) }, { degree }) };
		^this.midinotes(degrees.collect { |each| if(each.isArray) { each.collect(midi) } { midi.(each) } }, durations, velocity, legato)
	}

	// The notes of a Pattern or of a stream of Events up to a beat, rendered as it would be played.
	*fromPattern { |pattern, beats = 64|
		var stream = pattern.asStream, now = 0, found = [], event;
		while {
			now < beats and: { found.size < most } and: { (event = stream.next(Event.default)).notNil }
		} {
			if(event.isRest.not) { found = found ++ this.prOfEvent(event, now) };
			now = now + event.delta.value
		};
		^found
	}

	// An Event's notes: several where its pitch is an Array.
	*prOfEvent { |event, start|
		var pitches, length, velocity;
		event.use {
			pitches = ~freq.value.asArray.collect { |freq| (freq + (~detune.value ? 0)).cpsmidi.round.asInteger };
			length = ~sustain.value.asArray;
			velocity = this.prVelocity(event).asArray
		};
		^pitches.collect { |pitch, i| [pitch, start, length.wrapAt(i), velocity.wrapAt(i)] }
	}

	// What the Event itself says; the defaults that every Event inherits say nothing about a melody.
	*prVelocity { |event|
		if(event.keys.includes(\velocity)) { ^event[\velocity].value };
		if(event.keys.includes(\amp)) { ^event[\amp].value * 127 };
		^100
	}

	// Forgets them in the bridge; otherwise it does so ten minutes after their last use.
	free { ^bridge.notesForget(name) }

	asDawBridgeValue { ^name }

	prInitNotes { |argBridge, source, args|
		var pairs, beats;
		bridge = argBridge;
		try {
			pairs = DawBridgeTable.eventOf(args);
			name = (pairs.removeAt(\name) ?? { "sc-" ++ bridge.prNextId }).asString;
			beats = pairs.removeAt(\beats);
			case
			{ source.isString or: { source.isKindOf(PathName) } } { this.prFile(source.asString.standardizePath, pairs) }
			{ source.isKindOf(Buffer) } { this.prBuffer(source, pairs) }
			{ source.isKindOf(SequenceableCollection) } { this.prList(source, pairs) }
			{ this.prList(DawBridgeNotes.fromPattern(source, beats ? 64), pairs) }
		} { |thrown| this.prFail(thrown) }
	}

	prList { |list, pairs|
		var strange = list.detect { |each| each.isArray.not or: { each.size != 4 } };
		if(strange.notNil) {
			DawBridgeError(\malformed, "a note is [pitch, start, length, velocity], not %".format(strange), '/bridge/notes/add').throw
		};
		notes = list.collect { |each| DawBridgeNotes.prNote(each) };
		if(notes.isEmpty) { DawBridgeError(\empty, "there are no notes in it", '/bridge/notes/begin').throw };
		pairs[\count] = notes.size;
		bridge.ask('/bridge/notes/begin', [name], pairs, { this.prPages }, { |thrown| this.prFail(thrown) })
	}

	// Pitch and velocity are whole numbers, start and length are not.
	*prNote { |note|
		^[note[0].round.asInteger, note[1].asFloat, note[2].asFloat, note[3].round.asInteger.clip(1, 127)]
	}

	// Pages small enough for any network; each is answered before the next is sent.
	prPages { |index = 0|
		var part = notes.copyRange(index, min(index + page, notes.size) - 1);
		bridge.ask('/bridge/notes/add', [name, index] ++ part.flat, nil, { |found|
			count = found.held;
			answer = found;
			if(index + page < notes.size) { this.prPages(index + page) } { this.prDone(this) }
		}, { |thrown| this.prFail(thrown) })
	}

	prFile { |path, pairs|
		var verb = if(#["mid", "midi", "smf"].includesEqual(path.splitext.last.asString.toLower)) { '/bridge/notes/file' } { '/bridge/notes/audio' };
		this.prAsk(verb, path, pairs)
	}

	prBuffer { |buffer, pairs|
		bridge.writeBuffer(buffer, pairs.removeAt(\startFrame) ? 0, pairs.removeAt(\numFrames) ? -1,
			{ |path| this.prAsk('/bridge/notes/audio', path, pairs) }, { |thrown| this.prFail(thrown) })
	}

	prAsk { |verb, path, pairs|
		bridge.ask(verb, [name, path], pairs, { |found| answer = found; count = found.held; this.prDone(this) }, { |thrown| this.prFail(thrown) })
	}

	prPath { ^name }

	prUnheard { bridge.prUnheard(error) }

	result { ^this }
}
