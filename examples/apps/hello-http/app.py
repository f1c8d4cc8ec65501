"""The smallest useful app: a page, a health endpoint and a heartbeat, with nothing but the standard library.

HomeHelper starts it as `python app.py --port PORT` in this folder. Everything that it prints is in its log.
"""

import argparse
import html
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STARTED = time.monotonic()
visits = 0


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        global visits
        if self.path == "/health":
            # What HomeHelper shows as the app's health: good, warning or error, with a message.
            uptime = round(time.monotonic() - STARTED)
            self.answer(
                "application/json",
                json.dumps({"health": "good", "message": f"{visits} visits", "extra_info": {"uptime_seconds": uptime}}),
            )
        elif self.path == "/":
            visits += 1
            name = html.escape(os.environ.get("HOMEHELPER_APP_NAME", "this app"))
            self.answer("text/html; charset=utf-8", f"<h1>Hello from {name}</h1><p>You are visit {visits}.</p>")
        else:
            self.send_error(404)

    def answer(self, content_type, text):
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        # One line a request; the health checks are left out, or there would be little else.
        if self.path != "/health":
            print(f"{self.address_string()} {format % args}")


def heartbeat(stop):
    while not stop.wait(30):
        print(f"alive for {time.monotonic() - STARTED:.0f} s, {visits} visits")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", "8100")))
    port = parser.parse_args().port

    server = ThreadingHTTPServer(("0.0.0.0", port), Handler)
    stop = threading.Event()

    def end(number, frame):
        # HomeHelper asks with SIGTERM and gives ten seconds; shutdown() must not be called from the serving thread.
        print("asked to stop")
        stop.set()
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    threading.Thread(target=heartbeat, args=(stop,), daemon=True).start()
    print(f"listening on port {port}")
    server.serve_forever()
    server.server_close()
    print("bye")


if __name__ == "__main__":
    sys.exit(main())
