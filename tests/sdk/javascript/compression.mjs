// npm's `ws`, as it is, over a compressed connection; prints what it saw as JSON.
//
// It offers what browsers do, and refers back to its earlier messages.

import { once } from "node:events";
import WebSocket from "ws";

const task = JSON.parse(process.argv[2]);

const question = (size) => {
  const empty = JSON.stringify({ action: "ask", pad: "" });
  return JSON.stringify({ action: "ask", pad: "x".repeat(size - empty.length) });
};

const socket = new WebSocket(task.endpoint, { perMessageDeflate: { threshold: 0 } });
let extensions;
socket.on("upgrade", (response) => (extensions = response.headers["sec-websocket-extensions"]));
await once(socket, "open");

const ask = async (text) => {
  const answer = once(socket, "message");
  socket.send(text);
  return (await answer)[0].toString();
};

const lengths = [];
for (const size of task.sizes) lengths.push(Number(await ask(question(size))));

const text = question(9000);
const answer = once(socket, "message");
for (let start = 0; start < text.length; start += 1000) {
  socket.send(text.slice(start, start + 1000), { fin: start + 1000 >= text.length });
}
const fragmented = Number((await answer)[0].toString());

// Of the compressed frames nothing shows but that fewer bytes arrive than texts have.
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
