// Written by `python -m host_tables` from the message classes: edit those, not this.
+ DawBridge {
	// Make a take again from its sidecar.
	again { |path, args, server, action, onError|
		^this.take('/bridge/again', [path], args, server, action, onError)
	}

	// Go back in a stream by whole bars.
	rewind { |stream, bars, args, action, onError|
		^this.stream('/bridge/rewind', [stream, bars], args, action, onError)
	}

	// Take another way from a bar of a stream that plays.
	branch { |stream, bar, args, action, onError|
		^this.stream('/bridge/branch', [stream, bar], args, action, onError)
	}

	// Take the last change of a stream back.
	undo { |stream, args, action, onError|
		^this.stream('/bridge/undo', [stream], args, action, onError)
	}

	// Go on with a stream from its journal, as `/engine/resume`, and play it.
	resume { |journal, args, action, onError|
		^this.stream('/bridge/resume', [journal], args, action, onError)
	}

	// Make all of a stream again from its journal, into a file with a sidecar, as fast as the engine can.
	export { |args, server, action, onError|
		^this.take('/bridge/export', [], args, server, action, onError)
	}

	// List the streams that can be gone on with, the latest first, at most 200.
	journals { |args, action, onError|
		^this.ask('/bridge/journals', [], args, action, onError)
	}

	// Delete the journal of a stream that is over.
	journalsForget { |journal, args, action, onError|
		^this.ask('/bridge/journals/forget', [journal], args, action, onError)
	}

	// Govern a stream otherwise, or ask how it stands.
	govern { |stream, args, action, onError|
		^this.ask('/bridge/govern', [stream], args, action, onError)
	}

	// Begin a list of notes under a name, in place of an earlier one.
	notesBegin { |name, args, action, onError|
		^this.ask('/bridge/notes/begin', [name], args, action, onError)
	}

	// Send notes for a list, as many as fit into a packet.
	notesAdd { |name, index, values, args, action, onError|
		^this.ask('/bridge/notes/add', [name, index] ++ values, args, action, onError)
	}

	// Keep the lead line of a MIDI file under a name, as if its notes had been sent.
	notesFile { |name, path, args, action, onError|
		^this.ask('/bridge/notes/file', [name, path], args, action, onError)
	}

	// Keep the melody of a selected audio region under a name, as if its notes had been sent.
	notesAudio { |name, path, args, action, onError|
		^this.ask('/bridge/notes/audio', [name, path], args, action, onError)
	}

	// Record what is played on a MIDI input and keep it under a name.
	notesRecord { |name, args, action, onError|
		^this.ask('/bridge/notes/record', [name], args, action, onError)
	}

	// End a recording of notes, which is then answered with what was played.
	notesStop { |name, args, action, onError|
		^this.ask('/bridge/notes/stop', [name], args, action, onError)
	}

	// Forget notes that you have sent.
	notesForget { |name, args, action, onError|
		^this.ask('/bridge/notes/forget', [name], args, action, onError)
	}

	// List the MIDI inputs that can be played on.
	midiInputs { |args, action, onError|
		^this.ask('/bridge/midi/inputs', [], args, action, onError)
	}

	// List the prompt templates.
	templates { |args, action, onError|
		^this.ask('/bridge/templates', [], args, action, onError)
	}

	// Keep a prompt template in your file, in place of one of the same name.
	templatesKeep { |name, text, args, action, onError|
		^this.ask('/bridge/templates/keep', [name, text], args, action, onError)
	}

	// Delete a prompt template from your file.
	templatesForget { |name, args, action, onError|
		^this.ask('/bridge/templates/forget', [name], args, action, onError)
	}

	// Set how much each of a stream's prompts counts, at once, as faders do.
	weights { |stream, values, args, action, onError|
		^this.ask('/bridge/weights', [stream] ++ values, args, action, onError)
	}

	// Fade a stream out and end it.
	cancel { |stream, args, action, onError|
		^this.ask('/bridge/cancel', [stream], args, action, onError)
	}

	// Fade out and end everything that this bridge plays.
	stop { |args, action, onError|
		^this.ask('/bridge/stop', [], args, action, onError)
	}

	// A host says which beat it is.
	clockTick { |beat, args, action, onError|
		^this.ask('/bridge/clock/tick', [beat], args, action, onError)
	}

	// Let the clock go on from where it stands.
	clockStart { |args, action, onError|
		^this.ask('/bridge/clock/start', [], args, action, onError)
	}

	// Let the clock stand still.
	clockStop { |args, action, onError|
		^this.ask('/bridge/clock/stop', [], args, action, onError)
	}

	// Move the clock to a beat.
	clockLocate { |beat, args, action, onError|
		^this.ask('/bridge/clock/locate', [beat], args, action, onError)
	}

	// Send MIDI clock to an output, or no longer.
	clockSend { |port, args, action, onError|
		^this.ask('/bridge/clock/send', [port], args, action, onError)
	}

	// List the MIDI outputs that a clock can be sent to.
	midiOutputs { |args, action, onError|
		^this.ask('/bridge/midi/outputs', [], args, action, onError)
	}

	// Keep how a stream sounds now, or what is given here, under a name, in place of a scene of the same name.
	sceneKeep { |name, args, action, onError|
		^this.ask('/bridge/scene/keep', [name], args, action, onError)
	}

	// Change streams so that they sound as a scene does, or open a new one without an end.
	sceneRecall { |name, args, action, onError|
		^this.ask('/bridge/scene/recall', [name], args, action, onError)
	}

	// Delete a scene.
	sceneForget { |name, args, action, onError|
		^this.ask('/bridge/scene/forget', [name], args, action, onError)
	}

	// List the scenes.
	scenes { |args, action, onError|
		^this.ask('/bridge/scenes', [], args, action, onError)
	}

	// Keep all scenes, defaults, the clock's settings and what else the bridge remembers as a set, in place of one of this name.
	setKeep { |name, args, action, onError|
		^this.ask('/bridge/set/keep', [name], args, action, onError)
	}

	// Have everything as it was when the set was kept.
	setOpen { |name, args, action, onError|
		^this.ask('/bridge/set/open', [name], args, action, onError)
	}

	// Delete a set.
	setForget { |name, args, action, onError|
		^this.ask('/bridge/set/forget', [name], args, action, onError)
	}

	// List the sets.
	sets { |args, action, onError|
		^this.ask('/bridge/sets', [], args, action, onError)
	}

	// List the performances, the latest first, at most 200.
	performance { |args, action, onError|
		^this.ask('/bridge/performance', [], args, action, onError)
	}

	// Begin another performance now.
	performanceBegin { |name, args, action, onError|
		^this.ask('/bridge/performance/begin', [name], args, action, onError)
	}

	// Make every stream of a performance again, faster than real time, and write stems and the mix as they were heard.
	performanceRender { |name, args, action, onError|
		^this.ask('/bridge/performance/render', [name], args, action, onError)
	}

	// Set what the next requests use when they leave a parameter out.
	defaults { |args, action, onError|
		^this.ask('/bridge/defaults', [], args, action, onError)
	}

	// List the streams that this bridge opened.
	streams { |args, action, onError|
		^this.ask('/bridge/streams', [], args, action, onError)
	}

	// List the sound cards.
	devices { |args, action, onError|
		^this.ask('/bridge/devices', [], args, action, onError)
	}

	// Play through another sound card from now on.
	device { |name, args, action, onError|
		^this.ask('/bridge/device', [name], args, action, onError)
	}

	// Record from another input from now on, or ask for its state.
	input { |name, args, action, onError|
		^this.ask('/bridge/input', [name], args, action, onError)
	}

	// Send what the sound card plays as ReaStream, Reaper's audio over UDP, or no longer.
	reastream { |on, args, action, onError|
		^this.ask('/bridge/reastream', [on], args, action, onError)
	}

	// How the sound is sent.
	reastreamState { |args, action, onError|
		^this.ask('/bridge/reastream/state', [], args, action, onError)
	}

	// Ask for a new path in the exchange folder, to write audio to and name it in any request.
	exchange { |suffix, args, action, onError|
		^this.ask('/bridge/exchange', [suffix], args, action, onError)
	}

	// Encode an audio file into a file of codes, by the engine.
	codecEncode { |path, args, action, onError|
		^this.ask('/bridge/codec/encode', [path], args, action, onError)
	}

	// Decode a file of codes into an audio file, by the engine.
	codecDecode { |path, args, action, onError|
		^this.ask('/bridge/codec/decode', [path], args, action, onError)
	}

	// End a job.
	codecCancel { |job, args, action, onError|
		^this.ask('/bridge/codec/cancel', [job], args, action, onError)
	}

	// List the codecs that are in the engine's memory.
	codecList { |args, action, onError|
		^this.ask('/bridge/codec/list', [], args, action, onError)
	}

	// Tell what a file of codes holds.
	codecInfo { |path, args, action, onError|
		^this.ask('/bridge/codec/info', [path], args, action, onError)
	}

	// Write the codes of a stream into a file of codes, from its journal, as the model has made them.
	codecExport { |args, action, onError|
		^this.ask('/bridge/codec/export', [], args, action, onError)
	}

	// Record from the next bar line on, and play it as a loop from the bar line at which the recording ends.
	loopRecord { |layer, bars, source, args, action, onError|
		^this.ask('/bridge/loop/record', [layer, bars, source], args, action, onError)
	}

	// Play an audio region as a loop from the next bar line on.
	loopPlay { |layer, path, args, action, onError|
		^this.ask('/bridge/loop/play', [layer, path], args, action, onError)
	}

	// Let the engine go on from the layer's loop, which plays on.
	loopContinue { |layer, bars, args, action, onError|
		^this.ask('/bridge/loop/continue', [layer, bars], args, action, onError)
	}

	// Let a layer go on feeding on itself as its last continuation was asked for, or no longer.
	loopFeed { |layer, feed, args, action, onError|
		^this.ask('/bridge/loop/feed', [layer, feed], args, action, onError)
	}

	// Make several ways to go on from the layer's loop, side by side, with seeds that count up.
	loopVariations { |layer, count, args, action, onError|
		^this.ask('/bridge/loop/variations', [layer, count], args, action, onError)
	}

	// Play a variation.
	loopChoose { |layer, letter, args, action, onError|
		^this.ask('/bridge/loop/choose', [layer, letter], args, action, onError)
	}

	// Play the take before.
	loopUndo { |layer, args, action, onError|
		^this.ask('/bridge/loop/undo', [layer], args, action, onError)
	}

	// Play the take that was undone.
	loopRedo { |layer, args, action, onError|
		^this.ask('/bridge/loop/redo', [layer], args, action, onError)
	}

	// Set the level of a layer.
	loopLevel { |layer, level, args, action, onError|
		^this.ask('/bridge/loop/level', [layer, level], args, action, onError)
	}

	// Mute a layer, which plays on unheard, or let it be heard again.
	loopMute { |layer, mute, args, action, onError|
		^this.ask('/bridge/loop/mute', [layer, mute], args, action, onError)
	}

	// Stop a layer, or all, and what is recorded or made for it.
	loopStop { |layer, args, action, onError|
		^this.ask('/bridge/loop/stop', [layer], args, action, onError)
	}

	// Play a layer that was stopped, from the next bar line on.
	loopAgain { |layer, args, action, onError|
		^this.ask('/bridge/loop/again', [layer], args, action, onError)
	}

	// Stop a layer at once and forget its takes.
	loopClear { |layer, args, action, onError|
		^this.ask('/bridge/loop/clear', [layer], args, action, onError)
	}

	// List the layers that hold something.
	loops { |args, action, onError|
		^this.ask('/bridge/loops', [], args, action, onError)
	}

	// Let a note ask for something, in place of an earlier pad of this name.
	triggerMap { |name, note, request, args, action, onError|
		^this.ask('/bridge/trigger/map', [name, note, request], args, action, onError)
	}

	// Let a controller set something, in place of an earlier one of this name.
	triggerCc { |parameter, control, low, high, args, action, onError|
		^this.ask('/bridge/trigger/cc', [parameter, control, low, high], args, action, onError)
	}

	// Take the note or controller that is played next for a pad or a controller.
	triggerLearn { |name, args, action, onError|
		^this.ask('/bridge/trigger/learn', [name], args, action, onError)
	}

	// Play a pad over OSC, as its note would.
	triggerStrike { |name, velocity, args, action, onError|
		^this.ask('/bridge/trigger/strike', [name, velocity], args, action, onError)
	}

	// Let a MIDI input play pads and controllers, as many as you like.
	triggerInput { |name, args, action, onError|
		^this.ask('/bridge/trigger/input', [name], args, action, onError)
	}

	// List the pads, the controllers, and the inputs that they are played on.
	triggers { |args, action, onError|
		^this.ask('/bridge/triggers', [], args, action, onError)
	}

	// Forget a pad or a controller.
	triggerForget { |name, args, action, onError|
		^this.ask('/bridge/trigger/forget', [name], args, action, onError)
	}

	// Forget all pads and controllers.
	triggerClear { |args, action, onError|
		^this.ask('/bridge/trigger/clear', [], args, action, onError)
	}

	// List the engine's models.
	models { |args, action, onError|
		^this.ask('/bridge/models', [], args, action, onError)
	}

	// Load another model while everything plays on.
	load { |model, args, action, onError|
		^this.ask('/bridge/load', [model], args, action, onError)
	}

	// Give the model's memory back, at once or, while streams play on it, when the last one is over.
	unload { |args, action, onError|
		^this.ask('/bridge/unload', [], args, action, onError)
	}

	// Download a model and all that it needs to the engine's disk, beside what plays.
	modelsDownload { |model, args, action, onError|
		^this.ask('/bridge/models/download', [model], args, action, onError)
	}

	// Stop the download that is under way.
	modelsDownloadStop { |args, action, onError|
		^this.ask('/bridge/models/download/stop', [], args, action, onError)
	}

	// Stop the bridge in order.
	quit { |args, action, onError|
		^this.ask('/bridge/quit', [], args, action, onError)
	}
}
