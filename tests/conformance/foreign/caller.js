// Makes one call by grpc-js: reads what it is as JSON, and writes how it ended.
"use strict";

const fs = require("node:fs");
const grpc = require("@grpc/grpc-js");

const asked = JSON.parse(fs.readFileSync(0, "utf8"));
const messages = asked.messages.map((message) => Buffer.from(message, "base64"));
const credentials = asked.authority
  ? grpc.credentials.createSsl(fs.readFileSync(asked.authority))
  : grpc.credentials.createInsecure();
const options = asked.gzip ? { "grpc.default_compression_algorithm": grpc.compressionAlgorithms.gzip } : {};
const client = new grpc.Client(asked.address, credentials, options);
const metadata = new grpc.Metadata();
for (const [name, value] of Object.entries(asked.metadata)) {
  metadata.set(name, value);
}
const deadline = { deadline: Date.now() + asked.seconds * 1000 };
const asIs = (bytes) => bytes;
const received = [];

let call;
if (asked.stream) {
  call = client.makeBidiStreamRequest(asked.method, asIs, asIs, metadata, deadline);
  call.on("data", (message) => received.push(message));
  call.on("error", () => {}); // the status says it, too
  messages.forEach((message) => call.write(message));
  call.end();
} else {
  call = client.makeUnaryRequest(asked.method, asIs, asIs, messages[0], metadata, deadline, (error, message) => {
    if (!error) {
      received.push(message);
    }
  });
}
call.on("status", (status) => {
  const ended = {
    status: status.code,
    details: status.details,
    messages: received.map((message) => message.toString("base64")),
    trailers: status.metadata.getMap(),
  };
  // After what else this turn of the loop brings: a unary answer comes with its status.
  setImmediate(() => {
    process.stdout.write(JSON.stringify(ended));
    client.close();
  });
});
