// One thing of a bridge that has a number or a name of its own: a loop layer, a pad, a scene.
DawBridgePart {
	var <key, <bridge;

	*new { |key, bridge| ^super.newCopyArgs(key, bridge ?? { DawBridge.default }) }

	printOn { |stream| stream << this.class.name << "(" << key << ")" }
}
