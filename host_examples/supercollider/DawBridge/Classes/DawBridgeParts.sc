// Written by `python -m host_tables` from the message classes: edit those, not this.

// A loop layer of the bridge, by its number.
DawBridgeLoop : DawBridgePart {
	// Record from the next bar line on, and play it as a loop from the bar line at which the recording ends.
	record { |bars, source, args, action, onError|
		^bridge.ask('/bridge/loop/record', [key, bars, source], args, action, onError)
	}

	// Play an audio region as a loop from the next bar line on.
	play { |path, args, action, onError|
		^bridge.ask('/bridge/loop/play', [key, path], args, action, onError)
	}

	// Let the engine go on from the layer's loop, which plays on.
	continue { |bars, args, action, onError|
		^bridge.ask('/bridge/loop/continue', [key, bars], args, action, onError)
	}

	// Let a layer go on feeding on itself as its last continuation was asked for, or no longer.
	feed { |feed, args, action, onError|
		^bridge.ask('/bridge/loop/feed', [key, feed], args, action, onError)
	}

	// Make several ways to go on from the layer's loop, side by side, with seeds that count up.
	variations { |count, args, action, onError|
		^bridge.ask('/bridge/loop/variations', [key, count], args, action, onError)
	}

	// Play a variation.
	choose { |letter, args, action, onError|
		^bridge.ask('/bridge/loop/choose', [key, letter], args, action, onError)
	}

	// Play the take before.
	undo { |args, action, onError|
		^bridge.ask('/bridge/loop/undo', [key], args, action, onError)
	}

	// Play the take that was undone.
	redo { |args, action, onError|
		^bridge.ask('/bridge/loop/redo', [key], args, action, onError)
	}

	// Set the level of a layer.
	level { |level, args, action, onError|
		^bridge.ask('/bridge/loop/level', [key, level], args, action, onError)
	}

	// Mute a layer, which plays on unheard, or let it be heard again.
	mute { |mute, args, action, onError|
		^bridge.ask('/bridge/loop/mute', [key, mute], args, action, onError)
	}

	// Stop a layer, or all, and what is recorded or made for it.
	stop { |args, action, onError|
		^bridge.ask('/bridge/loop/stop', [key], args, action, onError)
	}

	// Play a layer that was stopped, from the next bar line on.
	again { |args, action, onError|
		^bridge.ask('/bridge/loop/again', [key], args, action, onError)
	}

	// Stop a layer at once and forget its takes.
	clear { |args, action, onError|
		^bridge.ask('/bridge/loop/clear', [key], args, action, onError)
	}
}


// A pad of the bridge, by its name.
DawBridgePad : DawBridgePart {
	// Let a note ask for something, in place of an earlier pad of this name.
	map { |note, request, args, action, onError|
		^bridge.ask('/bridge/trigger/map', [key, note, request], args, action, onError)
	}

	// Take the note or controller that is played next for a pad or a controller.
	learn { |args, action, onError|
		^bridge.ask('/bridge/trigger/learn', [key], args, action, onError)
	}

	// Play a pad over OSC, as its note would.
	strike { |velocity, args, action, onError|
		^bridge.ask('/bridge/trigger/strike', [key, velocity], args, action, onError)
	}

	// Forget a pad or a controller.
	forget { |args, action, onError|
		^bridge.ask('/bridge/trigger/forget', [key], args, action, onError)
	}
}


// A scene of the bridge, by its name.
DawBridgeScene : DawBridgePart {
	// Keep how a stream sounds now, or what is given here, under a name, in place of a scene of the same name.
	keep { |args, action, onError|
		^bridge.ask('/bridge/scene/keep', [key], args, action, onError)
	}

	// Change streams so that they sound as a scene does, or open a new one without an end.
	recall { |args, action, onError|
		^bridge.ask('/bridge/scene/recall', [key], args, action, onError)
	}

	// Delete a scene.
	forget { |args, action, onError|
		^bridge.ask('/bridge/scene/forget', [key], args, action, onError)
	}
}


// A set of the bridge, by its name.
DawBridgeSet : DawBridgePart {
	// Keep all scenes, defaults, the clock's settings and what else the bridge remembers as a set, in place of one of this name.
	keep { |args, action, onError|
		^bridge.ask('/bridge/set/keep', [key], args, action, onError)
	}

	// Have everything as it was when the set was kept.
	open { |args, action, onError|
		^bridge.ask('/bridge/set/open', [key], args, action, onError)
	}

	// Delete a set.
	forget { |args, action, onError|
		^bridge.ask('/bridge/set/forget', [key], args, action, onError)
	}
}
