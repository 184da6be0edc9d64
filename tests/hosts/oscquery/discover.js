// Finds OSCQuery servers as a controller built on the library does, and writes one line of JSON for each.
"use strict";

const { OSCQueryDiscovery } = require("oscquery");

const port = Number(process.argv[2]);
const discovery = new OSCQueryDiscovery();

function describe(service) {
  const { name, oscPort, oscTransport, extensions } = service.hostInfo;
  const methods = service.flat().map((method) => ({ path: method.full_path, ...method }));
  return { address: service.address, port: service.port, name, oscPort, oscTransport, extensions, methods };
}

discovery.on("up", (service) => {
  if (service.port !== port) return;
  process.stdout.write(`${JSON.stringify(describe(service))}\n`, () => process.exit(0));
});
discovery.start();
