"""Calls a gRPC method with no message and prints code, message in hexadecimal and trailers, one per line.

Usage: grpc_client.py ADDRESS:PORT /package.Service/Method MESSAGE_HEX SECONDS
"""

import sys

import grpc

target, method, message, limit = sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3]), float(sys.argv[4])
with grpc.insecure_channel(target) as channel:
    call = channel.unary_unary(method)
    try:
        answer, call = call.with_call(message, timeout=limit)
        print(0, answer.hex(), sorted(call.trailing_metadata()), sep="\n")
    except grpc.RpcError as error:
        print(error.code().value[0], "", sorted(error.trailing_metadata() or ()), sep="\n")
