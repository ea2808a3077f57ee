"""Calls methods of the lab's gRPC server, one after the other, and prints what came of each: a JSON object per line.

Usage: grpc_calls.py ADDRESS:PORT NAME AUTHORITY CALL...

CALL is a name of one of the functions below. NAME is what the certificate of AUTHORITY, a file, is for.
"""

import json
import queue
import sys

import grpc

target, name, authority, *calls = sys.argv[1:]
# What no test is to wait for.
LIMIT = 30


def unary(channel):
    method = channel.unary_unary("/lab.Shop/Echo")
    answer, call = method.with_call(b"hello", timeout=LIMIT, metadata=(("x-mark-bin", b"\x01\xfe"),))
    yield answer
    yield repr(sorted(tuple(pair) for pair in call.trailing_metadata())).encode()


def large(channel):
    """Larger than any window on the way, both ways; under gRPC's own limit."""
    message = bytes(range(256)) * 12_000
    return b"same" if channel.unary_unary("/lab.Shop/Echo")(message, timeout=LIMIT) == message else b"different"


def server_streaming(channel):
    return channel.unary_stream("/lab.Shop/Count")(b"1000", timeout=LIMIT)


def client_streaming(channel):
    return channel.stream_unary("/lab.Shop/Gather")((b"x" * 1000 for _ in range(1000)), timeout=LIMIT)


def both_streaming(channel):
    """Says the next thing only when the last was answered."""
    things = queue.Queue()
    call = channel.stream_stream("/lab.Shop/Talk")(iter(things.get, None), timeout=LIMIT)
    for number in range(5):
        things.put(b"%d" % number)
        yield next(call)
    things.put(None)
    yield from call


def failing(channel):
    return channel.unary_unary("/lab.Shop/Fail")(b"", timeout=LIMIT)


def failing_late(channel):
    return channel.unary_stream("/lab.Shop/FailLate")(b"", timeout=LIMIT)


def unknown(channel):
    return channel.unary_unary("/lab.Shop/Nothing")(b"", timeout=LIMIT)


def cancelled(channel):
    """Given up after the first message; the server notices."""
    call = channel.unary_stream("/lab.Shop/Wait")(b"")
    said = next(call)
    call.cancel()
    return [said, channel.unary_unary("/lab.Shop/EndedCall")(b"", timeout=LIMIT)]


def late(channel):
    """Past its deadline; the server was told of it and notices."""
    return channel.unary_stream("/lab.Shop/Wait")(b"", timeout=0.7)


def ended(channel):
    return channel.unary_unary("/lab.Shop/EndedCall")(b"", timeout=LIMIT)


def outcome(call, channel):
    trailers = {}
    messages = []
    try:
        answer = call(channel)
        for message in [answer] if isinstance(answer, bytes) else answer:
            messages.append(message.decode())
        code, details = 0, ""
    except grpc.RpcError as error:
        code, details = error.code().value[0], error.details()
        trailers = {key: repr(value) for key, value in error.trailing_metadata() or ()}
    return {"messages": messages, "code": code, "details": details, "trailers": trailers}


with open(authority, "rb") as file:
    credentials = grpc.ssl_channel_credentials(file.read())
options = (("grpc.ssl_target_name_override", name),)
with grpc.secure_channel(target, credentials, options) as channel:
    for call in calls:
        print(json.dumps({"call": call, **outcome(globals()[call], channel)}))
