"""A gRPC server of the lab: the standard health service, and an application with calls of each kind.

Usage: grpc_server.py NAME PORT BEHAVIOUR_FILE

What the health service answers is in BEHAVIOUR_FILE, read at every call; see `GrpcHealth` in program.rs. Messages are two
fields at most, or plain text, so they are written out instead of generated.
"""

import concurrent.futures
import sys
import threading
import time

import grpc

NAME, PORT, BEHAVIOUR_FILE = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def said():
    try:
        with open(BEHAVIOUR_FILE) as file:
            return file.read().split()
    except FileNotFoundError:
        return ["status", "1"]


def misbehave(context):
    """Does what is not an answer; returns the serving status if the call is to be answered."""
    words = said()
    while words == ["hang"] and context.is_active():
        time.sleep(0.02)
        words = said()
    if words[0] == "code":
        number = int(words[1])
        code = next(code for code in grpc.StatusCode if code.value[0] == number)
        context.abort(code, "as told")
    return int(words[1]) if words[0] == "status" else 1


def check(_request, context):
    # HealthCheckResponse { ServingStatus status = 1; }
    return bytes([0x08, misbehave(context)])


def echo(request, context):
    """The message that came, and in trailers who answers and what marks came."""
    sent = [(name, value) for name, value in context.invocation_metadata() if name.startswith("x-mark")]
    context.set_trailing_metadata((("x-server", NAME), *sent))
    return request


def count(request, _context):
    """As many messages as the one that came says."""
    for number in range(int(request)):
        yield b"%d" % number


def gather(requests, _context):
    """How many messages came, and how many bytes."""
    lengths = [len(request) for request in requests]
    return b"%d %d" % (len(lengths), sum(lengths))


def talk(requests, _context):
    """An answer to each message, before the next one comes."""
    for request in requests:
        yield b"you said " + request


def fail(_request, context):
    context.set_trailing_metadata((("x-detail-bin", b"\x00\xff"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "100 % no: ½")


def fail_late(_request, context):
    """Fails after a message of its answer."""
    yield b"so far so good"
    context.abort(grpc.StatusCode.DATA_LOSS, "and no further")


# Calls of `wait` that ended because their clients left or had no more time.
ended = threading.Semaphore(0)


def wait(_request, context):
    """Answers with how many seconds the client has left, if it said so, and then not again until the call is over."""
    over = threading.Event()
    context.add_callback(over.set)
    left = context.time_remaining()
    # Without a deadline this library says centuries.
    yield b"-" if left is None or left > 1e6 else b"%.3f" % left
    over.wait()
    ended.release()


def ended_call(_request, _context):
    """Answers when one more call of `wait` is over."""
    return b"yes" if ended.acquire(timeout=20) else b"no"


def handlers(service, **methods):
    return grpc.method_handlers_generic_handler(service, methods)


unary = grpc.unary_unary_rpc_method_handler
many_answers = grpc.unary_stream_rpc_method_handler
health = handlers("grpc.health.v1.Health", Check=unary(check))
shop = handlers(
    "lab.Shop",
    Echo=unary(echo),
    Count=many_answers(count),
    Gather=grpc.stream_unary_rpc_method_handler(gather),
    Talk=grpc.stream_stream_rpc_method_handler(talk),
    Fail=unary(fail),
    FailLate=many_answers(fail_late),
    Wait=many_answers(wait),
    EndedCall=unary(ended_call),
)
# A hung call holds a thread.
server = grpc.server(concurrent.futures.ThreadPoolExecutor(32), handlers=(health, shop))
if not server.add_insecure_port(f"[::]:{PORT}") and not server.add_insecure_port(f"0.0.0.0:{PORT}"):
    sys.exit(f"cannot listen on {PORT}")
server.start()
server.wait_for_termination()
