// A daw-bridge: what is asked of it, and what it tells. There may be several of them, each at its own address.
DawBridge {
	classvar <all, default, <unhurried;

	var <name, <addr, <>timeout = 10, <>period = 1, <>onError, <connected = false, <status, <params, <connection;
	var requests, streams, listeners, receiver, watching = false, nextId, lastHeard = 0, lastAsked = 0, uptime = 0, silentSince, ticking;

	*initClass {
		all = List.new;
		// Answered when it has been played, read, made or loaded; for these `timeout` is no measure.
		unhurried = IdentitySet[
			'/bridge/load', '/bridge/unload', '/bridge/notes/record', '/bridge/notes/audio', '/bridge/performance/render',
			'/bridge/loop/record', '/bridge/loop/play', '/bridge/loop/continue', '/bridge/loop/variations',
			'/bridge/loop/choose', '/bridge/scene/recall', '/bridge/set/open', '/bridge/trigger/learn'
		];
	}

	// The bridge on this machine, at its usual port; or the one that was set.
	*default { ^default ?? { default = this.new(\default) } }
	*default_ { |bridge| default = bridge }

	// addr: a NetAddr; without one the usual port of this machine.
	*new { |name, addr|
		^super.new.prInit(name ? \bridge, addr ?? { NetAddr("127.0.0.1", DawBridgeSchema.port) })
	}

	prInit { |argName, argAddr|
		name = argName;
		addr = argAddr;
		requests = IdentityDictionary.new;
		streams = IdentityDictionary.new;
		listeners = IdentityDictionary.new;
		params = IdentityDictionary.new;
		nextId = 1000000.rand + 1000000; // other hosts hear of our streams, and we of theirs: ids should not meet
		all.add(this)
	}

	// Registers for everything that the bridge tells, again after each restart of it. Done once it has answered.
	connect { |action, onError|
		if(connection.isNil or: { connection.isFailed }) { connection = DawBridgePromise(nil, nil) };
		action !? { connection.onDone(action) };
		onError !? { connection.onError(onError) };
		this.prWatch;
		^connection
	}

	// Ends the registration; what plays there plays on.
	disconnect {
		if(watching) { addr.sendMsg('/notify', 0) };
		watching = false;
		thisProcess.removeOSCRecvFunc(receiver);
		CmdPeriod.remove(this);
		this.prForget(\not_connected, "disconnected");
	}

	// Whether the engine has a model and takes requests.
	isReady { ^connected and: { status.notNil } and: { status.engine == "ready" } }

	// Calls a function once the engine is ready, at once where it is.
	doWhenReady { |action, onError, limit = 60|
		{
			var failure;
			try { this.waitUntilReady(limit) } { |thrown| failure = thrown };
			case
			{ failure.isNil } { action.value(this) }
			{ onError.notNil } { onError.value(failure) }
			{ failure.throw }
		}.fork(AppClock)
	}

	// Inside a Routine: until the engine is ready, also where the bridge is started only now. Throws a DawBridgeError after
	// `limit` seconds.
	waitUntilReady { |limit = 60|
		var deadline = Main.elapsedTime + limit;
		this.connect;
		while { this.isReady.not } {
			if(Main.elapsedTime > deadline) { this.prNotReady.throw };
			0.05.wait
		}
	}

	// Release and protocol of the bridge; done with an Event.
	version { |action, onError| ^this.prReport('/bridge/version', action, onError) }

	// Asks for the status anew; done with an Event. `status` is the last one.
	updateStatus { |action, onError| ^this.prReport('/bridge/status', action, onError) }

	// Asks anything by its address. positional: an Array; args: pairs of names and values, or an Event.
	ask { |path, positional, args, action, onError, timeout|
		^DawBridgeRequest(this, path, action, onError).send(positional, args, timeout)
	}

	// As ask, for what opens a stream that is waited for; done with a DawBridgeTake, its sound in a Buffer of `server`.
	take { |path, positional, args, server, action, onError|
		^DawBridgeTake(this, path, positional, args, action, onError, server)
	}

	// As ask, for what opens a stream that is played with: a DawBridgeStream.
	stream { |path, positional, args, action, onError|
		^DawBridgeStream(this, path, positional, args, action, onError)
	}

	// A setting for what comes next, as /bridge/param/<key>. Without a value: what it is.
	param { |key, value|
		var parameter = DawBridgeSchema.settings[key.asSymbol], sent;
		if(parameter.isNil) {
			DawBridgeError(\unknown_parameter, "there is no setting '%'; there are: %".format(
				key, DawBridgeSchema.settings.keys.asArray.sort.join(", "))).throw
		};
		if(value.isNil) { ^params[key.asSymbol] };
		sent = parameter.prepare(value, key);
		if(sent.isException) { sent.throw };
		addr.sendMsg("/bridge/param/" ++ key, sent)
	}

	// Calls a function with each event of this name, such as \beat or \progress, as an Event; nil in place of a name for all.
	on { |event, func|
		var key = event ? \all;
		this.connect;
		listeners[key] = listeners[key].addFunc(func);
		^func
	}

	// Calls it no more.
	removeOn { |event, func|
		var key = event ? \all;
		listeners[key] = listeners[key].removeFunc(func)
	}

	// The streams that were opened from here and are not over.
	ownStreams { ^streams.values.asSet.asArray }

	// As everything else that sounds, streams that were opened from here end at Cmd-Period.
	cmdPeriod {
		streams.do(_.free);
		if(watching) { this.prTick }
	}

	printOn { |stream| stream << this.class.name << "(" << name << ", " << addr.ip << ":" << addr.port << ")" }

	prReport { |path, action, onError|
		^DawBridgeReport(this, path, action, onError).prAsk
	}

	prNextId { ^nextId = nextId + 1 }

	prSend { |request, message|
		this.prWatch;
		requests[request.id] = request;
		addr.sendMsg(*message)
	}

	prUnheard { |error|
		if(onError.notNil) { onError.value(error) } { error.errorString.warn }
	}

	prWatch {
		if(watching) { ^this };
		watching = true;
		silentSince = Main.elapsedTime;
		receiver = { |message, time, from| this.prReceive(message, from) };
		thisProcess.addOSCRecvFunc(receiver);
		CmdPeriod.add(this);
		this.prTick
	}

	// Four times a second: what has waited too long fails; once in `period` seconds the bridge is asked how it is.
	prTick {
		var mine = ticking = Object.new; // one at a time, also where Cmd-Period leaves the clocks alone
		SystemClock.sched(0, {
			if(watching and: { ticking === mine }) {
				this.prExpire(Main.elapsedTime);
				this.prAskHow(Main.elapsedTime);
				0.25
			}
		})
	}

	prAskHow { |now|
		if(now - lastAsked < (period - 0.05)) { ^this };
		lastAsked = now;
		addr.sendMsg('/bridge/status');
		if(now - max(lastHeard, silentSince) > max(timeout, period * 3)) { this.prLost }
	}

	prExpire { |now|
		requests.values.do { |request|
			if(request.deadline.notNil and: { now > request.deadline }) {
				requests.removeAt(request.id);
				request.prFail(DawBridgeError(\timeout, this.prNoAnswer, request.path))
			}
		}
	}

	prNotReady {
		^if(connected and: { status.notNil }) {
			DawBridgeError(\engine_lost, "the bridge has no engine that is ready; it is %".format(status.engine))
		} {
			DawBridgeError(\not_connected, this.prNoAnswer)
		}
	}

	prNoAnswer {
		^if(connected) {
			"no answer within % s".format(timeout)
		} {
			"no bridge answers at %:%; is it running? `daw-bridge up` starts it".format(addr.ip, addr.port)
		}
	}

	prLost {
		silentSince = Main.elapsedTime;
		this.prForget(if(connected) { \bridge_lost } { \not_connected }, this.prLostText)
	}

	prLostText {
		^if(connected) { "the bridge at %:% answers no more".format(addr.ip, addr.port) } { this.prNoAnswer }
	}

	// Nothing that was under way will be answered any more.
	prForget { |code, text|
		var gone = requests.values, was = connected;
		requests.clear;
		streams.clear;
		connected = false;
		uptime = 0;
		if(connection.notNil) {
			if(connection.isDone) { connection = DawBridgePromise(nil, nil) } { connection.prFail(DawBridgeError(code, text)) }
		};
		gone.do { |request| request.prFail(DawBridgeError(code, text, request.path)) };
		if(was) { this.changed(\lost) }
	}

	prReceive { |message, from|
		if(from.port != addr.port or: { from.addr != addr.addr }) { ^this };
		lastHeard = Main.elapsedTime;
		// What goes wrong with one message must not keep other receivers from theirs.
		try { this.prDispatch(message) } { |thrown| thrown.reportError }
	}

	prDispatch { |message|
		var path = message[0], event;
		switch(path,
			'/done', { this.prAnswered(message) },
			'/fail', { this.prRefused(message) },
			'/bridge/status.reply', { this.prStatus(message.drop(1)) },
			'/bridge/version.reply', { this.prReported('/bridge/version', message.drop(1)) },
			{
				event = DawBridgeSchema.events[path];
				if(event.notNil) { ^this.prEvent(path, event, message.drop(1)) };
				this.prOther(path.asString, message)
			}
		)
	}

	prOther { |path, message|
		var request, key;
		if(path.endsWith(".item")) {
			request = requests[message[1]];
			if(request.notNil) { request.prRow(message.drop(4)) };
			^this
		};
		if(path.beginsWith("/bridge/param/")) {
			key = path.basename.asSymbol;
			params[key] = message[1];
			this.changed(\param, key, message[1])
		}
	}

	prAnswered { |message|
		var request = requests.removeAt(message[2]);
		if(message[1] === '/notify') { ^this.prConnected };
		request !? { request.prAnswered(message.drop(3)) }
	}

	prRefused { |message|
		var request = requests.removeAt(message[2]);
		if(message[1] === '/notify') {
			^connection.prFail(DawBridgeError(message[3], message[4], '/notify'))
		};
		if(request.notNil) { ^request.prRefused(message[3], message[4]) };
		if(message[2] == 0) { this.prUnheard(DawBridgeError(message[3], message[4], message[1])) }
	}

	prConnected {
		var was = connected;
		connected = true;
		if(connection.isNil or: { connection.isFailed }) { connection = DawBridgePromise(nil, nil) };
		connection.prDone(this);
		if(was.not) { this.changed(\connected); this.prCheckProtocol }
	}

	prCheckProtocol {
		this.version({ |found|
			if(found.protocol != DawBridgeSchema.protocol) {
				"DawBridge: the bridge speaks version % of the protocol, this Quark %; take both from one release".format(
					found.protocol, DawBridgeSchema.protocol).warn
			}
		}, { })
	}

	prStatus { |pairs|
		var last = status;
		status = this.prPairs(pairs);
		if(status.uptime < uptime) { this.prForget(\bridge_lost, "the bridge has been started anew") };
		uptime = status.uptime;
		if(connected.not) { addr.sendMsg('/notify', 1) };
		this.prReported('/bridge/status', pairs);
		if(last.isNil or: { last.engine != status.engine }) { this.changed(\engine, status.engine) };
		this.changed(\status)
	}

	prPairs { |pairs|
		var found = ();
		pairs.pairsDo { |key, value|
			var known = DawBridgeSchema.status[key];
			found[key] = if(known.isNil) { if(value.isKindOf(Symbol)) { value.asString } { value } } { known.read(value) }
		};
		^found
	}

	// Reports carry no id: whoever waits for one of this kind gets it.
	prReported { |path, pairs|
		requests.values.do { |request|
			if(request.path === path) { requests.removeAt(request.id); request.prDone(this.prPairs(pairs)) }
		}
	}

	prEvent { |path, parameters, values|
		var event = (), key = path.asString.drop(8).asSymbol, stream;
		parameters.do { |each, i| event[each.name] = each.read(values[i]) };
		if(key === \queued) { this.prQueued(event) };
		if(key === \engine) { this.prEngine(event) };
		stream = event.stream !? { streams[event.stream] };
		if(stream.notNil) { stream.prEvent(key, event) };
		listeners[key].value(event, key);
		listeners[\all].value(event, key)
	}

	prEngine { |event|
		if(status.notNil) { status.engine = event.state; status.model = event.model };
		this.changed(\engine, event.state)
	}

	prQueued { |event|
		var request = requests[event.request];
		if(request.notNil and: { request.owner.notNil }) { streams[event.stream] = request.owner }
	}

	prOver { |stream|
		streams.removeAt(stream.number)
	}
}

// What the bridge reports about itself, which it does without an id.
DawBridgeReport : DawBridgePromise {
	var <bridge, <path, <id, <deadline;

	*new { |bridge, path, action, onError|
		^super.new(action, onError).prInitReport(bridge, path)
	}

	prInitReport { |argBridge, argPath|
		bridge = argBridge;
		path = argPath;
		id = bridge.prNextId;
		deadline = Main.elapsedTime + bridge.timeout;
	}

	prAsk { bridge.prSend(this, [path]) }

	prPath { ^path }

	prUnheard { bridge.prUnheard(error) }
}
