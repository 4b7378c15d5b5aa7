#!/usr/bin/env python3
"""Sends a text over a WebSocket and prints the first answer. usage: echo.py HOST:PORT PATH TEXT"""
import sys

from websocket_client import ClosedError, Connection


def main():
    address, path, text = sys.argv[1:]
    try:
        connection = Connection(address, path)
        connection.send(text)
        print(connection.receive())
    except ClosedError as reason:
        sys.exit(f"echo: {reason}")


if __name__ == "__main__":
    main()
