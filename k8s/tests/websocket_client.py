"""A WebSocket client without dependencies: it runs in the network of a node (RFC 6455)."""
import base64
import os
import socket
import struct


class ClosedError(Exception):
    """The connection has ended."""


class Connection:
    """An open WebSocket. Text messages only."""

    def __init__(self, address, path, timeout=30):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=timeout)
        self.stream = self.socket.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        head = f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        self.socket.sendall(f"{head}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
        status = self.stream.readline().split()[1:2]
        if status != [b"101"]:
            raise ClosedError(f"status {b''.join(status).decode() or 'missing'}")
        while self.stream.readline().strip():
            pass

    def send(self, text):
        """Sends one unfragmented frame with an all-zero mask (section 5.2)."""
        payload = text.encode()
        length = struct.pack("!B", 0x80 | len(payload)) if len(payload) < 126 else struct.pack("!BH", 0x80 | 126, len(payload))
        self.socket.sendall(b"\x81" + length + bytes(4) + payload)

    def receive(self):
        """Returns the next text message."""
        try:
            kind, length = self.read_exactly(2)
            if length == 126:
                (length,) = struct.unpack("!H", self.read_exactly(2))
            payload = self.read_exactly(length)
        except ConnectionError as reason:
            raise ClosedError(str(reason)) from reason
        if kind & 0x0F == 8:
            raise ClosedError(f"close frame {struct.unpack('!H', payload[:2]) if payload else ''}")
        return payload.decode()

    def read_exactly(self, count):
        data = self.stream.read(count)
        if len(data) != count:
            raise ClosedError("the connection ended")
        return data

    def close(self):
        """Sends a close frame with code 1000 and closes the socket."""
        self.socket.sendall(b"\x88\x82" + bytes(4) + struct.pack("!H", 1000))
        self.stream.close()
        self.socket.close()
