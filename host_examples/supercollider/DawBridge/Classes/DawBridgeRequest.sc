// One message to a bridge and the one answer to it: an Event by the names of the answer's values, or for a list an Array of Events.
DawBridgeRequest : DawBridgePromise {
	var <bridge, <path, <table, <id, <>owner, <deadline, rows;

	// Without a table of its own an address is asked as it is written.
	*new { |bridge, path, action, onError|
		^super.new(action, onError).prInitRequest(bridge, path)
	}

	prInitRequest { |argBridge, argPath|
		bridge = argBridge;
		path = argPath.asSymbol;
		id = bridge.prNextId;
		rows = [];
	}

	// Checks the values and sends them. What is wrong with them fails the request, as a refusal by the bridge does.
	send { |positional, args, timeout|
		try {
			table = DawBridgeSchema.at(path);
			this.prSendWhenNotesAreHeld(positional, args, timeout)
		} { |thrown|
			this.prFail(thrown)
		}
	}

	prPath { ^path }

	prUnheard { bridge.prUnheard(error) }

	// Notes that are still on their way are waited for; then they are meant by their name.
	prSendWhenNotesAreHeld { |positional, args, timeout|
		var pairs = DawBridgeTable.pairsOf(args);
		var notes = pairs.detect { |each| each.isKindOf(DawBridgeNotes) and: { each.isDone.not } };
		if(notes.isNil) { ^this.prSendNow(positional, pairs, timeout) };
		if(notes.isFailed) { notes.error.throw };
		notes.onDone { this.send(positional, args, timeout) };
		notes.onError { |thrown| this.prFail(thrown) }
	}

	prSendNow { |positional, pairs, timeout|
		var message = table.message(positional, pairs);
		deadline = this.prDeadline(timeout);
		bridge.prSend(this, [path, id] ++ message)
	}

	// Those that are answered only when something has been played, read or made are given as long as the bridge is there.
	prDeadline { |timeout|
		if(timeout.isNil and: { table.opensStream or: { DawBridge.unhurried.includes(path) } }) { ^inf };
		^Main.elapsedTime + (timeout ? bridge.timeout)
	}

	prRow { |pairs|
		rows = rows.add(table.readPairs(pairs))
	}

	prAnswered { |values|
		this.prDone(if(table.isList) { rows } { table.read(values) })
	}

	prRefused { |code, text|
		// The bridge begins its texts with the code, which an error has as a value of its own.
		this.prFail(DawBridgeError(code, text.asString.replace(code.asString ++ ": ", ""), path))
	}
}
