"""Python's `websockets`, unmodified, on a compressed connection; prints its observations as JSON.

It offers a window of 12 bits for both directions and uses context takeover.
"""

import asyncio
import json
import sys

from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

OFFER = ClientPerMessageDeflateFactory(server_max_window_bits=12, client_max_window_bits=12)


def directive(size):
    empty = json.dumps({"action": "ask", "pad": ""})
    return json.dumps({"action": "ask", "pad": "x" * (size - len(empty))})


async def main(task):
    compressed = 0
    async with connect(task["endpoint"], extensions=[OFFER], compression=None, max_size=1 << 20) as socket:
        extension = socket.protocol.extensions[0]
        decode = extension.decode

        def counted(frame, **limits):
            nonlocal compressed
            compressed += frame.rsv1
            return decode(frame, **limits)

        extension.decode = counted
        lengths = []
        for size in task["sizes"]:
            await socket.send(directive(size))
            lengths.append(int(await socket.recv()))
        text = directive(9_000)
        await socket.send(text[start : start + 1_000] for start in range(0, len(text), 1_000))
        fragmented = int(await socket.recv())
        await (await socket.ping())
        answers = []
        for body in task["bodies"]:
            answer = {"return": {"statusCode": 200, "body": body}}
            await socket.send(json.dumps({"action": "ask", "answer": answer}))
            answers.append(await socket.recv() == body)
        print(json.dumps({
            "extensions": socket.response.headers["Sec-WebSocket-Extensions"],
            "lengths": lengths,
            "fragmented": fragmented,
            "answers": answers,
            "compressed": compressed,
        }))


asyncio.run(main(json.loads(sys.argv[1])))
