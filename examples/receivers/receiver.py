# Receives Ringback's webhooks with nothing but Python 3.8. Run: WEBHOOK_SECRET=whsec_… PORT=3000 python3 receiver.py
import base64
import hashlib
import hmac
import json
import os
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = base64.b64decode(re.sub("^whsec_", "", os.environ.get("WEBHOOK_SECRET", "")))
TOLERANCE_SECONDS = 5 * 60
BODY_BYTES_MAX = 1024 * 1024


# verify: begin
def verify(headers, body):
    event_id = headers.get("webhook-id", "")  # finds names in any case
    timestamp = headers.get("webhook-timestamp", "")
    if event_id == "" or re.fullmatch("[0-9]{1,12}", timestamp) is None:
        return False
    if abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    signed = f"{event_id}.{timestamp}.".encode() + body
    expected = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest())
    for signature in headers.get("webhook-signature", "").split(" "):
        version, _, given = signature.partition(",")
        # v1a, and what may come after it, is passed over
        if version == "v1" and hmac.compare_digest(given.encode(), expected):
            return True
    return False
# verify: end


# In earnest: a column with a unique index, written in one transaction with the work or with the entry in your queue.
seen = set()
seen_lock = threading.Lock()


def accept(event):
    print(event["type"], event["data"]["taskId"], flush=True)


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_POST(self):
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > BODY_BYTES_MAX:
            return self.answer(413)
        body = self.rfile.read(int(length))
        if not verify(self.headers, body):
            return self.answer(400)
        event_id = self.headers["webhook-id"]
        with seen_lock:
            if event_id not in seen:
                accept(json.loads(body))
            seen.add(event_id)
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        if status == 413:
            self.close_connection = True  # what is left of the body is not read
        if status != 204:
            self.send_header("content-length", "0")
        self.end_headers()

    def do_GET(self):
        self.answer(405)

    def log_message(self, *_):
        pass


if len(SECRET) < 24:
    raise SystemExit("WEBHOOK_SECRET: expected whsec_ and base64, as shown when the endpoint was made")
server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "3000"))), Receiver)
print(f"listening on {server.server_port}", flush=True)
server.serve_forever()
