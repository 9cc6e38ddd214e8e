"""A small app beside the sidecar: it asks URL every two seconds and says what came back.

With PROVIDER_PORT it also plays the API and its token endpoint on loopback, with tokens that
live one minute. It knows nothing of tokens as an app: that is the sidecar's part.
"""
import base64, json, os, secrets, signal, sys, threading, time, urllib.error, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LIFE = 60
tokens = {}  # token: when it ends


class Provider(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        credential = base64.b64encode(b"example:example").decode()
        if self.path != "/token" or self.headers.get("Authorization") != "Basic " + credential:
            return self.answer(401, {"error": "invalid_client"})
        token = secrets.token_urlsafe(24)
        tokens[token] = time.time() + LIFE
        self.answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": LIFE})

    def do_GET(self):
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        left = tokens.get(token, 0) - time.time()
        if left <= 0:
            return self.answer(401, {"error": "no valid token"})
        self.answer(200, {"hello": self.path, "token_ends_in_seconds": round(left)})

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def ask(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status, response.read(300).decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read(300).decode(errors="replace")
    except OSError as error:
        return "no answer", error


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
if port := os.environ.get("PROVIDER_PORT"):
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Provider)
    threading.Thread(target=server.serve_forever, daemon=True).start()
while True:
    print(*ask(os.environ["URL"]))
    time.sleep(2)
