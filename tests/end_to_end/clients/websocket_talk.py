"""Talks to websocket_server.py and prints what it heard: a JSON object.

Usage: websocket_talk.py URI ADDRESS:PORT AUTHORITY

AUTHORITY is a file with the certificate to trust where the URI is of TLS.
"""

import asyncio
import json
import os
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

uri, target, authority = sys.argv[1:]
address, port = target.split(":")


def open_connection():
    context = ssl.create_default_context(cafile=authority) if uri.startswith("wss:") else None
    return connect(uri, host=address, port=int(port), ssl=context, subprotocols=["chat"], max_size=None)


async def main():
    heard = {}
    async with open_connection() as connection:
        heard["subprotocol"] = connection.subprotocol
        await connection.send("hällo")
        heard["text"] = await connection.recv()
        large = os.urandom(3_000_000)
        await connection.send(large)
        heard["large"] = await connection.recv() == large
        # One message in several frames.
        await connection.send(["in ", "three ", "parts"])
        heard["parts"] = await connection.recv()
        await connection.send("greet")
        heard["greeting"] = [await connection.recv(), await connection.recv()]
        await asyncio.wait_for(await connection.ping(), 20)
        await connection.send("close 4001 enough of it")
        try:
            await connection.recv()
        except ConnectionClosed as closed:
            heard["closed"] = [closed.rcvd.code, closed.rcvd.reason]

    # A client that vanishes without a word, and another that asks whether that was noticed.
    async with open_connection() as other:
        connection = await open_connection()
        await connection.send("here")
        await connection.recv()
        connection.transport.abort()
        await other.send("lost")
        heard["lost"] = await other.recv()
    print(json.dumps(heard))


asyncio.run(main())
