// Peer of the pod broadcast benchmark: one of several Socket.IO servers on one Redis. A published text is emitted to
// every
// client of every server. Configured as Socket.IO's documentation recommends for performance: the sharded adapter
// with
// ioredis, WebSocket only, no compression, the native add-on of ws (used when installed), and no reference to the
// handshake
// request. Usage: node server.mjs redis://127.0.0.1:PORT. It prints `listening on ADDR` and exits at the end of its
// standard input.
import { createServer } from "node:http";
import { createShardedAdapter } from "@socket.io/redis-adapter";
import { Redis } from "ioredis";
import { Server } from "socket.io";

const publisher = new Redis(process.argv[2]);
const subscriber = publisher.duplicate();
const http = createServer();
const io = new Server(http, {
  adapter: createShardedAdapter(publisher, subscriber),
  serveClient: false,
  transports: ["websocket"],
});
io.engine.on("connection", (connection) => {
  connection.request = null;
});
io.on("connection", (socket) => {
  socket.on("publish", (text) => io.emit("message", text));
});
process.stdin.resume().on("end", () => process.exit());

// Redis replies in order: after this reply the adapter's subscriptions are active.
await subscriber.ping();
http.listen(0, "127.0.0.1", 4096, () => console.log(`listening on 127.0.0.1:${http.address().port}`));
