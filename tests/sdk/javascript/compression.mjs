// npm's `ws`, unmodified, on a compressed connection; prints its observations as JSON.
//
// It offers the extension like a browser and uses context takeover.

import { once } from "node:events";
import WebSocket from "ws";

const task = JSON.parse(process.argv[2]);

const directive = (size) => {
  const empty = JSON.stringify({ action: "ask", pad: "" });
  return JSON.stringify({ action: "ask", pad: "x".repeat(size - empty.length) });
};

const socket = new WebSocket(task.endpoint, { perMessageDeflate: { threshold: 0 } });
let extensions;
socket.on("upgrade", (response) => (extensions = response.headers["sec-websocket-extensions"]));
await once(socket, "open");

const ask = async (text) => {
  const reply = once(socket, "message");
  socket.send(text);
  return (await reply)[0].toString();
};

const lengths = [];
for (const size of task.sizes) lengths.push(Number(await ask(directive(size))));

const text = directive(9000);
const reply = once(socket, "message");
for (let start = 0; start < text.length; start += 1000) {
  socket.send(text.slice(start, start + 1000), { fin: start + 1000 >= text.length });
}
const fragmented = Number((await reply)[0].toString());

// Compression is visible only through fewer received bytes than the texts have.
let compressed = 0;
const answers = [];
for (const body of task.bodies) {
  const before = socket._socket.bytesRead;
  answers.push((await ask(JSON.stringify({ action: "ask", answer: { return: { statusCode: 200, body } } }))) === body);
  if (socket._socket.bytesRead - before < Buffer.byteLength(body)) compressed += 1;
}
socket.close();
await once(socket, "close");
console.log(JSON.stringify({ extensions, lengths, fragmented, answers, compressed }));
