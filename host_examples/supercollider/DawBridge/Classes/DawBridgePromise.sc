// Something that the bridge is asked for and that comes later, with a value or an error.
// It is waited for inside a Routine, or an action function is called with it, or both.
DawBridgePromise {
	var <state = \waiting, <value, <error, condition, action, onError, waiting = 0, heard = false;

	*new { |action, onError|
		^super.new.prInitPromise(action, onError)
	}

	prInitPromise { |argAction, argOnError|
		condition = CondVar.new;
		action = argAction;
		onError = argOnError;
	}

	isDone { ^state === \done }
	isFailed { ^state === \failed }
	isOver { ^this.isDone or: { this.isFailed } }

	// What action functions are called with and wait returns.
	result { ^value }

	// Inside a Routine: the result, as soon as it is there. Throws a DawBridgeError, also when `seconds` have passed.
	wait { |seconds|
		this.prAwait(seconds, { this.isOver });
		if(this.isFailed) { heard = true; error.throw };
		^this.result
	}

	// Adds an action for when it is done; called at once where it is.
	onDone { |func|
		if(this.isDone) { this.prCall(func, this.result) } { action = action.addFunc(func) }
	}

	// Adds an action for when it fails: called with the error.
	onError { |func|
		if(this.isFailed) { heard = true; this.prCall(func, error) } { onError = onError.addFunc(func) }
	}

	prAwait { |seconds, condition|
		if(condition.value) { ^this };
		if(thisThread.isKindOf(Routine).not) {
			DawBridgeError(\not_a_routine, "wait needs a Routine, such as fork { … }; elsewhere give an action", this.prPath).throw
		};
		waiting = waiting + 1;
		this.prBlock(seconds, condition);
		waiting = waiting - 1;
		if(condition.value.not) {
			DawBridgeError(\timeout, "not within % s".format(seconds), this.prPath).throw
		}
	}

	prBlock { |seconds, predicate|
		if(seconds.isNil) {
			condition.wait(predicate)
		} {
			condition.waitFor(seconds * (thisThread.clock.tryPerform(\tempo) ? 1), predicate)
		}
	}

	prPath { ^nil }

	prDone { |argValue|
		if(this.isOver) { ^this };
		value = argValue;
		state = \done;
		condition.signalAll;
		this.prCall(action, this.result)
	}

	prFail { |argError|
		if(this.isOver) { ^this };
		error = argError;
		state = \failed;
		if(waiting > 0 or: { onError.notNil }) { heard = true };
		condition.signalAll;
		this.prCall(onError, error);
		// A Routine may get to its wait a little later than the answer comes; only then is the error nobody's.
		AppClock.sched(0.5, { if(heard.not) { this.prUnheard }; nil })
	}

	prUnheard { error.errorString.warn }

	// Actions run in a Routine of their own, so that they can wait, too.
	prCall { |func, argument|
		if(func.notNil) { { func.value(argument) }.fork(AppClock) }
	}
}
