// jack_lsp, jack_connect and jack_disconnect, run one after the other.
DawBridgeJack : DawBridgePromise {
	connect { |server, first, channels, prefix| this.prPatch("jack_connect", server, first, channels, prefix) }

	disconnect { |server, first, channels, prefix| this.prPatch("jack_disconnect", server, first, channels, prefix) }

	prPatch { |command, server, first, channels, prefix|
		{
			try {
				this.prDone(this.prPairs(first, channels, prefix).collect { |pair|
					this.prRun("% % %".format(command, pair[0].quote, pair[1].quote));
					pair
				})
			} { |thrown| this.prFail(thrown) }
		}.fork(AppClock)
	}

	prPairs { |first, channels, prefix|
		var ports = this.prPorts;
		var outs = ports.select { |port| port.beginsWith(prefix) and: { port.contains("out") } };
		var ins = ports.select { |port| port.contains("SuperCollider") and: { port.contains(":in_") } };
		if(outs.isEmpty) { DawBridgeError(\unknown_device, "no JACK port begins with '%'; does the bridge play through JACK?".format(prefix)).throw };
		if(ins.size <= first) { DawBridgeError(\unknown_device, "the server has % inputs in JACK".format(ins.size)).throw };
		^min(channels, min(outs.size, ins.size - first)).asInteger.collect { |i| [outs[i], ins[first + i]] }
	}

	prPorts {
		^"jack_lsp".unixCmdGetStdOut.split(Char.nl).reject(_.isEmpty)
	}

	prRun { |line|
		var code, found = CondVar();
		line.unixCmd({ |exitCode| code = exitCode; found.signalAll }, false);
		found.waitFor(5, { code.notNil });
		if(code != 0) { DawBridgeError(\unsupported, "% went wrong (%)".format(line, code)).throw }
	}
}

// The bridge's sound in the server's inputs, where both are clients of the same JACK (or PipeWire) server.
+ DawBridge {
	// Connects the bridge's first outputs to the server's inputs from `first` (counted from 0) on; SoundIn hears them there.
	// prefix: how the bridge's ports begin. Done with the names of the connected ports.
	*connectJack { |server, first = 0, channels = 2, prefix = "daw-bridge", action, onError|
		^DawBridgeJack(action, onError).connect(server ? Server.default, first, channels, prefix)
	}

	// Takes these connections away again.
	*disconnectJack { |server, first = 0, channels = 2, prefix = "daw-bridge", action, onError|
		^DawBridgeJack(action, onError).disconnect(server ? Server.default, first, channels, prefix)
	}
}
