"""An HTTP function, as Function Compute's HTTP triggers offer them: every request below the prefix calls it.

Usage: function_server.py NAME PORT PREFIX

It answers with what arrived, as JSON. `?status=` chooses the status of the answer, `?s=` delays it by seconds. Outside the
prefix there is no function: 404.
"""

import json
import sys
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME, PORT, PREFIX = sys.argv[1], int(sys.argv[2]), sys.argv[3]


class Invocation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body in one packet, as a proxy in front of functions would send them.
    wbufsize = -1
    invocations = 0

    def invoke(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        body = self.read_body()
        inside = url.path.startswith(PREFIX)
        if inside:
            Invocation.invocations += 1
            time.sleep(float(query.get("s", "0")))
        answer = {
            "function": NAME,
            "invocation": Invocation.invocations,
            "method": self.command,
            "path": url.path,
            "query": url.query,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body_bytes": len(body),
        }
        text = json.dumps(answer if inside else {"error": f"no function at {url.path}"}).encode() + b"\n"
        self.send_response(int(query.get("status", "200")) if inside else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("X-Server", NAME)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = invoke

    def read_body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body


class Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True


Server(("", PORT), Invocation).serve_forever()
