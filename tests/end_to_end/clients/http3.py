"""Sends requests over one HTTP/3 connection, all at once, and prints what came of each: a JSON object per line.

Usage: http3.py ADDRESS PORT NAME AUTHORITY METHOD:PATH[:BODY_BYTES[:LEAVE_AFTER]]...

NAME is what the certificate of AUTHORITY, a file, is for. A request with LEAVE_AFTER sends so much of its body, waits for
a line on standard input, and resets its stream.
"""

import asyncio
import hashlib
import json
import sys

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, ErrorCode, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset

ADDRESS, PORT, NAME, AUTHORITY, *REQUESTS = sys.argv[1:]


class Response:
    """What has come so far."""

    def __init__(self):
        self.headers = {}
        self.bytes = 0
        self.hash = hashlib.sha256()
        self.error = None
        self.over = asyncio.get_running_loop().create_future()

    def end(self, error=None):
        if not self.over.done():
            self.error = error
            self.over.set_result(None)


class Client(QuicConnectionProtocol):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.http = H3Connection(self._quic)
        self.responses = {}

    def begin(self):
        stream = self._quic.get_next_available_stream_id()
        # Takes the number; the request goes out with the caller's first headers.
        self.responses[stream] = Response()
        return stream

    def quic_event_received(self, event):
        if isinstance(event, StreamReset) and event.stream_id in self.responses:
            self.responses[event.stream_id].end(f"reset with {event.error_code:#x}")
        if isinstance(event, ConnectionTerminated):
            for response in self.responses.values():
                response.end(f"connection closed with {event.error_code:#x}: {event.reason_phrase}")
        for http_event in self.http.handle_event(event):
            response = self.responses.get(http_event.stream_id)
            if response is None:
                continue
            if isinstance(http_event, HeadersReceived):
                response.headers.update((key.decode(), value.decode()) for key, value in http_event.headers)
            if isinstance(http_event, DataReceived):
                response.bytes += len(http_event.data)
                response.hash.update(http_event.data)
            if isinstance(http_event, (HeadersReceived, DataReceived)) and http_event.stream_ended:
                response.end()


async def one(client, request):
    method, path, *rest = request.split(":")
    length = int(rest[0]) if rest else 0
    stream = client.begin()
    headers = [(":method", method), (":scheme", "https"), (":authority", NAME), (":path", path)]
    if rest:
        headers.append(("content-length", str(length)))
    lines = [(key.encode(), value.encode()) for key, value in headers]
    client.http.send_headers(stream, lines, end_stream=not rest)
    response = client.responses[stream]
    if rest:
        body = bytes(number % 251 for number in range(length))
        leaves = len(rest) == 2
        client.http.send_data(stream, body[: int(rest[1])] if leaves else body, end_stream=not leaves)
    client.transmit()
    if len(rest) == 2:
        await asyncio.to_thread(sys.stdin.readline)
        client._quic.reset_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
        client.transmit()
        response.end("left")
    await asyncio.wait_for(response.over, 60)
    return {
        "request": request,
        "headers": response.headers,
        "bytes": response.bytes,
        "sha256": response.hash.hexdigest(),
        "error": response.error,
    }


async def main():
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=NAME)
    configuration.load_verify_locations(AUTHORITY)
    async with connect(ADDRESS, int(PORT), configuration=configuration, create_protocol=Client) as client:
        for outcome in await asyncio.gather(*(one(client, request) for request in REQUESTS)):
            print(json.dumps(outcome))


asyncio.run(main())
