// A Buffer that the server reads from a file or writes to one. Done with the Buffer; fails with what the server says.
DawBridgeBufferJob : DawBridgePromise {
	classvar <>patience = 30;
	var <buffer, <path, responders;

	// Reads a file, whole. Its sample rate is the file's: play it with BufRateScale.
	*read { |server, path, action, onError|
		^super.new(action, onError).prRead(server ? Server.default, path)
	}

	// Writes a Buffer, or a part of it (frames), as 32-bit float WAV.
	*write { |buffer, path, startFrame = 0, numFrames = -1, action, onError|
		^super.new(action, onError).prWrite(buffer, path, startFrame, numFrames)
	}

	prRead { |server, argPath|
		path = argPath.asString;
		if(this.prRuns(server).not) { ^this };
		this.prWatch(server, '/b_allocRead', { |message| message.any { |each| each.asString.contains(path.basename) } });
		buffer = Buffer.read(server, path, action: { |found| this.prFinish(found) })
	}

	prWrite { |argBuffer, argPath, startFrame, numFrames|
		buffer = argBuffer;
		path = argPath.asString;
		if(this.prRuns(buffer.server).not) { ^this };
		this.prWatch(buffer.server, '/b_write', true);
		responders = responders.add(OSCFunc({ this.prFinish(buffer) }, '/done', buffer.server.addr, nil, ['/b_write', buffer.bufnum]));
		buffer.write(path, "wav", "float", numFrames, startFrame)
	}

	prRuns { |server|
		if(server.serverRunning) { ^true };
		this.prFail(DawBridgeError(\no_server, "the server '%' does not run; boot it first".format(server.name), path));
		^false
	}

	prWatch { |server, command, concerns|
		responders = [OSCFunc({ |message|
			if(concerns.value(message)) { this.prGiveUp(message.drop(2).join(" ")) }
		}, '/fail', server.addr, nil, [command])];
		SystemClock.sched(patience, { if(this.isOver.not) { this.prGiveUp("the server has not answered within % s".format(patience)) }; nil })
	}

	prFinish { |found|
		responders.do(_.free);
		this.prDone(found)
	}

	prGiveUp { |text|
		responders.do(_.free);
		this.prFail(DawBridgeError(\not_audio, text, path))
	}

	prPath { ^path }
}
