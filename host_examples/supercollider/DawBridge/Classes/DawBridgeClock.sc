// A TempoClock that leads the bridge's clock: where it stands is told on each beat, for the moment at which the server plays that beat.
DawBridgeClock {
	var <bridge, <clock, <server, <running = false, ticker;

	// clock: TempoClock.default where nil. server: its latency counts, as for what a Pattern plays.
	*new { |bridge, clock, server|
		^super.newCopyArgs(bridge ?? { DawBridge.default }, clock ?? { TempoClock.default }, server ?? { Server.default }).start
	}

	// Makes the bridge's clock follow and tells it the first position at once.
	start {
		if(running) { ^this };
		running = true;
		bridge.clock([\source, \host, \beats_per_bar, clock.beatsPerBar.round.asInteger]);
		clock.addDependant(this);
		CmdPeriod.add(this);
		this.prBegin
	}

	// The bridge's clock stands still; what plays there plays on.
	stop {
		if(running.not) { ^this };
		running = false;
		clock.removeDependant(this);
		CmdPeriod.remove(this);
		this.prSendNow(0)
	}

	// From the start of bar 1 as the TempoClock counts bars, in beats: what it is at the beat `beats` of the clock.
	position { |beats|
		^clock.beats2bars(beats ?? { clock.beats }) * clock.beatsPerBar
	}

	// The TempoClock tells of a new tempo or metre; the bridge hears of it at once, not only on the next beat.
	update { |changer, what|
		switch(what,
			\tempo, { this.prSendNow(1) },
			\meter, { this.prSendNow(1) },
			\stop, { this.stop }
		)
	}

	// Cmd-Period ends what a clock has planned unless it is permanent; the ticks go on.
	cmdPeriod { if(running) { this.prBegin } }

	prBegin {
		var mine = ticker = Object.new;
		this.prSendNow(1);
		clock.schedAbs(clock.beats.ceil, {
			if(running and: { ticker === mine }) { this.prSendNow(1); 1 }
		})
	}

	// The time tag is that of what a Synth would get now: logical time and the server's latency.
	prSendNow { |playing|
		bridge.addr.sendBundle(server.latency ? 0, this.message(clock.beats, playing))
	}

	// One position as the bridge takes it.
	message { |beats, playing = 1|
		^['/bridge/clock/tick', 0, this.position(beats).asFloat, \bpm, (clock.tempo * 60).asFloat,
			\beats_per_bar, clock.beatsPerBar.round.asInteger, \playing, playing]
	}

	printOn { |stream| stream << this.class.name << "(" << clock << ")" }
}
