// What the bridge, or this client on its way there, refused: a code to decide by and a text to read.
DawBridgeError : Error {
	var <code, <text, <address;

	*new { |code, text, address|
		^super.new("%%".format(address !? { address.asString ++ ": " } ? "", text)).prInitDawBridge(code, text, address)
	}

	prInitDawBridge { |argCode, argText, argAddress|
		code = argCode.asSymbol;
		text = argText.asString;
		address = argAddress;
	}

	errorString { ^"DawBridge: " ++ what }

	// One line says what was wrong; where it was called is told after Exception.debug = true.
	reportError {
		if(Exception.debug) { ^super.reportError };
		("ERROR: " ++ this.errorString).postln
	}
}
