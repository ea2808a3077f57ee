"""A WebSocket server: echoes what it is told, and does what some words ask of it.

Usage: websocket_server.py PORT

`greet` is answered with two messages, `close CODE REASON` closes, `lost` is answered when one more connection has ended
without a close frame.
"""

import asyncio
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosedError


async def main():
    lost = asyncio.Queue()

    async def talk(connection):
        try:
            async for message in connection:
                match message.split(" ", 2) if isinstance(message, str) else []:
                    case ["greet"]:
                        await connection.send("one")
                        await connection.send("two")
                    case ["close", code, reason]:
                        await connection.close(int(code), reason)
                    case ["lost"]:
                        await connection.send(await asyncio.wait_for(lost.get(), 20))
                    case _:
                        await connection.send(message)
        except ConnectionClosedError as error:
            if not error.rcvd:
                await lost.put("no close frame")

    async with serve(talk, "", int(sys.argv[1]), subprotocols=["chat"], max_size=None) as server:
        await server.serve_forever()


asyncio.run(main())
