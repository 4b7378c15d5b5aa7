#!/usr/bin/env python3
"""Sends a text over a WebSocket and prints the first answer. usage: echo.py HOST:PORT PATH TEXT"""
import base64
import os
import socket
import struct
import sys


def read_exactly(stream, count):
    data = stream.read(count)
    if len(data) != count:
        sys.exit("echo: the connection ended")
    return data


def main():
    address, path, text = sys.argv[1:]
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        key = base64.b64encode(os.urandom(16)).decode()
        head = f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        connection.sendall(f"{head}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
        stream = connection.makefile("rb")
        status = stream.readline().split()[1]
        while stream.readline().strip():
            pass
        if status != b"101":
            sys.exit(f"echo: status {status.decode()}")
        # One unfragmented frame of less than 126 bytes with an all-zero mask (RFC 6455, section 5.2).
        payload = text.encode()
        connection.sendall(struct.pack("!BBI", 0x81, 0x80 | len(payload), 0) + payload)
        _, length = read_exactly(stream, 2)
        if length == 126:
            (length,) = struct.unpack("!H", read_exactly(stream, 2))
        print(read_exactly(stream, length).decode())


if __name__ == "__main__":
    main()
