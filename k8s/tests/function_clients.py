#!/usr/bin/env python3
"""Clients of fixtures/application on two pods. usage: function_clients.py COUNT HOST:PORT HOST:PORT

Opens COUNT connections to each pod, posts from each one to one of the other pod through each route, and prints the connection ids
of both pods as JSON. After a line on standard input, the connections of the first pod must break; the others must still receive
posts and find those of the first pod gone. Prints "checked", and closes the connections after the next line.
"""
import json
import sys

sys.dont_write_bytecode = True
from websocket_client import ClosedError, Connection  # noqa: E402

# Python by the endpoint of the environment, Python and Node.js by the host name of the API.
ROUTES = ("post", "post_by_name", "relay")


def ask(connection, **message):
    connection.send(json.dumps(message))
    return connection.receive()


def post(sender, receiver, receiver_id, route):
    """Posts a text through the function of a route; checks the answer, and the text at the receiver."""
    text = f"{route} to {receiver_id}"
    answer = ask(sender, action=route, to=receiver_id, text=text)
    found = receiver.receive() if answer == "posted" else answer
    if found != text:
        sys.exit(f"function_clients: {text}: found {found!r}")


def must_break(connection):
    try:
        found = connection.receive()
    except ClosedError:
        return
    sys.exit(f"function_clients: a connection of a killed pod received {found!r}")


def check_survivors(pods, ids):
    """The connections of the first pod have ended; those of the second receive posts and find the others gone."""
    for connection in pods[0]:
        must_break(connection)
    post(pods[1][0], pods[1][-1], ids[1][-1], "post")
    for route in ROUTES:
        found = ask(pods[1][0], action=route, to=ids[0][0], text="x")
        if found != "gone":
            sys.exit(f"function_clients: post to a connection of a killed pod: {found!r}")


def report(document):
    print(document, flush=True)


def wait_for_line():
    if not sys.stdin.readline():
        sys.exit("function_clients: standard input ended")


def main():
    count, *addresses = sys.argv[1:]
    pods = [[Connection(address, "/prod") for _ in range(int(count))] for address in addresses]
    ids = [[ask(connection, action="whoami") for connection in connections] for connections in pods]
    for route in ROUTES:
        for own, other in ((0, 1), (1, 0)):
            for sender, receiver, receiver_id in zip(pods[own], pods[other], ids[other]):
                post(sender, receiver, receiver_id, route)
    report(json.dumps(ids))
    wait_for_line()
    check_survivors(pods, ids)
    report("checked")
    wait_for_line()
    for connection in pods[1]:
        connection.close()


if __name__ == "__main__":
    main()
