"""The answers of a published app: /health, /ui, /api/<resource>; copied beside each app."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def serve(port, answers):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            answer = answers.get(self.path)
            body = json.dumps(answer() if answer else {"error": "not_found", "message": "no", "details": {}}).encode()
            self.send_response(200 if answer else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            pass

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
