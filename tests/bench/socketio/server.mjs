// The peer of the broadcast between pods: one Socket.IO server among several on one Redis. What a client publishes is
// emitted to every client of every server. It is set up as Socket.IO's documentation advises for performance: the sharded
// adapter with ioredis, WebSocket alone, no compression, the native add-on of ws (it is found by being installed), the
// handshake forgotten. Usage: node server.mjs redis://127.0.0.1:PORT. It prints `listening on ADDR` and ends when its
// standard input does.
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

// Redis answers in order: once it has answered this, the adapter's subscriptions stand.
await subscriber.ping();
http.listen(0, "127.0.0.1", 4096, () => console.log(`listening on 127.0.0.1:${http.address().port}`));
