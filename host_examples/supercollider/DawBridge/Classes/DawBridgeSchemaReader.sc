// Reads the rows of DawBridgeSchema, once, when they are first asked for.
DawBridgeSchemaReader {
	classvar addresses, events, settings, status;

	// DawBridgeTable by address.
	*addresses {
		^addresses ?? {
			addresses = IdentityDictionary.new;
			this.prAddresses.do { |row| addresses[row[0].asSymbol] = DawBridgeTable(row) };
			addresses
		}
	}

	// Array of DawBridgeParameter by the address of an event.
	*events {
		^events ?? {
			events = IdentityDictionary.new;
			this.prEvents.do { |row| events[row[0].asSymbol] = row[2..].collect(DawBridgeParameter(_)) };
			events
		}
	}

	// DawBridgeParameter by the name of a setting that the bridge keeps for all requests.
	*settings { ^settings ?? { settings = this.prByName(this.prSettings) } }

	// DawBridgeParameter by the name of a value of the status.
	*status { ^status ?? { status = this.prByName(this.prStatus) } }

	// The table of an address. Throws a DawBridgeError where the bridge has none.
	*at { |path|
		^this.addresses[path.asSymbol] ?? {
			DawBridgeError(\unknown_address, "the bridge has no address %".format(path), path).throw
		}
	}

	// The parameters of an address, in order, for lists and panels.
	*parameters { |path| ^this.at(path).parameters }

	// A ControlSpec for a parameter, for sliders and MIDI controllers; nil where it is no number.
	*spec { |path, name| ^this.at(path).parameter(name).asSpec }

	*prByName { |rows|
		var found = IdentityDictionary.new;
		rows.do { |row| found[row[0].asSymbol] = DawBridgeParameter(row) };
		^found
	}
}

// One address of the bridge: what it takes and what it answers with.
DawBridgeTable {
	var <path, <meaning, <positional, <rest, <named, <opensStream, <isList, <answer, byName;

	*new { |row| ^super.new.prInit(row) }

	prInit { |row|
		path = row[0].asSymbol;
		meaning = row[1];
		positional = row[2].collect(DawBridgeParameter(_));
		rest = row[3] !? { DawBridgeParameter(row[3]) };
		named = row[4].collect(DawBridgeParameter(_));
		opensStream = row[5];
		isList = row[6];
		answer = row[7].collect(DawBridgeParameter(_));
		byName = IdentityDictionary.new;
		(positional ++ named).do { |each| byName[each.name] = each };
	}

	parameters { ^positional ++ named }

	has { |name| ^byName.includesKey(name.asSymbol) }

	// A parameter by its name. Throws a DawBridgeError that lists the names there are.
	parameter { |name|
		if(this.has(name).not) { this.prUnknown(name).throw };
		^byName[name.asSymbol]
	}

	// The arguments of a message: positional values, then names and values. Throws a DawBridgeError.
	// Errors are values until here: sclang's stack is not put in order when one is thrown from within a loop or an argument.
	message { |values, pairs|
		var first = this.prPositional(values), more = this.prNamed(pairs);
		var wrong = (first ++ more).detect(_.isException);
		if(wrong.notNil) { wrong.throw };
		^first ++ more
	}

	// The values of an answer, an Event by their names.
	read { |values|
		var found = ();
		answer.do { |each, i| found[each.name] = each.read(values[i]) };
		^found
	}

	// The values of a row of a list, which come with their names.
	readPairs { |pairs|
		var found = (), known = IdentityDictionary.new;
		answer.do { |each| known[each.name] = each };
		pairs.pairsDo { |name, value|
			found[name] = if(known[name].isNil) { value } { known[name].read(value) }
		};
		^found
	}

	prPositional { |values|
		var given = values ? [];
		var first = positional.collect { |each, i|
			if(given[i].isNil) {
				DawBridgeError(\missing, "% is needed".format(each.name), path)
			} {
				each.prepare(given[i], path)
			}
		};
		var numbers = given.drop(positional.size);
		if(rest.isNil and: { numbers.notEmpty }) {
			^[DawBridgeError(\malformed, "% values are too many, it takes %".format(given.size, positional.size), path)]
		};
		^first ++ numbers
	}

	prNamed { |pairs|
		var found = [];
		DawBridgeTable.pairsOf(pairs).pairsDo { |name, value|
			if(this.has(name).not) {
				found = found.add(this.prUnknown(name))
			} {
				if(value.notNil) { found = found ++ [name.asSymbol, byName[name.asSymbol].prepare(value, path)] }
			}
		};
		^found
	}

	prUnknown { |name|
		^DawBridgeError(\unknown_parameter, "there is no parameter '%'; there are: %".format(
			name, named.collect(_.name).join(", ")), path)
	}

	// Names and values as one Array, whether they came as an Array, an Event or a Dictionary.
	*pairsOf { |args|
		if(args.isNil) { ^[] };
		if(args.isKindOf(Dictionary)) { ^args.getPairs };
		if(args.isArray.not or: { args.size.odd }) {
			DawBridgeError(\malformed, "args are pairs of names and values or an Event, not %".format(args)).throw
		};
		^args
	}

	// The same as an Event of its own, by Symbols.
	*eventOf { |args|
		var found = ();
		this.pairsOf(args).pairsDo { |name, value| found[name.asSymbol] = value };
		^found
	}
}

// One parameter, or one value of an answer: its kind, default, range, unit and meaning.
DawBridgeParameter {
	var <name, <kind, <default, <minimum, <maximum, <choices, <maxLength, <unit, <meaning;

	*new { |row| ^super.new.prInit(*row) }

	prInit { |argName, argKind, argDefault, argMinimum, argMaximum, argChoices, argMaxLength, argUnit, argMeaning|
		name = argName.asSymbol;
		kind = argKind.asSymbol;
		default = argDefault;
		minimum = argMinimum;
		maximum = argMaximum;
		choices = argChoices.collect(_.asSymbol);
		maxLength = argMaxLength;
		unit = argUnit;
		meaning = argMeaning;
	}

	// A ControlSpec where it is a number with bounds, else nil.
	asSpec {
		if(#[\int, \float].includes(kind).not or: { minimum.isNil } or: { maximum.isNil }) { ^nil };
		^ControlSpec(minimum, maximum, \lin, if(kind === \int) { 1 } { 0 }, default ? minimum, unit)
	}

	// The value as it is sent: whole numbers stay whole, yes and no are 1 and 0. What is wrong with it: a DawBridgeError.
	prepare { |value, path|
		var plain = value.asDawBridgeValue(this);
		var wrong = this.prWrong(plain);
		if(wrong.notNil) {
			^DawBridgeError(wrong, "% = % (allowed: %)".format(name, value, this.allowed), path)
		};
		^switch(kind,
			\int, { plain.round.asInteger },
			\float, { plain.asFloat },
			\bool, { plain.asInteger },
			\str, { plain.asString },
			{ plain }
		)
	}

	// A value as it was received: texts with fixed choices are Symbols, other texts Strings, yes and no Booleans.
	read { |value|
		if(value.isNil) { ^nil };
		if(kind === \bool) { ^value != 0 };
		if(kind === \str) { ^if(choices.isEmpty) { value.asString } { value.asSymbol } };
		^value
	}

	allowed {
		if(choices.notEmpty) { ^choices.join(", ") };
		^switch(kind,
			\bool, "true or false",
			\str, { "text" ++ (maxLength !? { " of at most % characters".format(maxLength) } ? "") },
			{ "a% number%%".format(
				if(kind === \int) { " whole" } { "" },
				minimum !? { " from " ++ minimum } ? "",
				maximum !? { " to " ++ maximum } ? "") }
		)
	}

	// The code of what is wrong with a value; nil where nothing is.
	prWrong { |value|
		if(kind === \str) { ^this.prWrongText(value.asString) };
		if(kind === \bool) { ^if(value == 0 or: { value == 1 }) { nil } { \bad_type } };
		if(value.isNumber.not) { ^\bad_type };
		if((minimum ? value) > value or: { (maximum ? value) < value }) { ^\out_of_range };
		^nil
	}

	prWrongText { |text|
		if(choices.notEmpty and: { choices.includes(text.asSymbol).not }) { ^\out_of_range };
		if(maxLength.notNil and: { text.size > (maxLength * 4) }) { ^\too_long }; // characters of up to four bytes
		^nil
	}
}

// How objects of sclang are sent as a parameter.
+ Object {
	asDawBridgeValue { ^this }
}

+ Boolean {
	asDawBridgeValue { ^this.binaryValue }
}

+ TempoClock {
	// Where a tempo is asked for, a clock gives its own in beats a minute.
	asDawBridgeValue { ^this.tempo * 60 }
}

+ SequenceableCollection {
	// Several prompts are joined as the bridge reads them; several numbers stand beside each other.
	asDawBridgeValue { |parameter|
		^this.join(if(parameter.name === \prompt) { " || " } { " " })
	}
}

+ String {
	asDawBridgeValue { ^this }
}
