"""A client by `websockets`: says HELLO, prints what comes, and does what it is told by messages."""

import base64
import sys
import threading

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

HELLO = b"\x01\x01\x00\x00\x00" + bytes(16) + b"\x06python\x00\x00\x00"
NAMES = {129: "welcome", 131: "joined", 134: "close", 135: "current"}


def say(*words):
    print(*words, flush=True)


url, user, ca = sys.argv[1:]
token = base64.urlsafe_b64encode(user.encode()).decode().rstrip("=")
options = {"subprotocols": ["pushgate.v1", "pushgate.token." + token]}
if ca != "-":
    import ssl

    options["ssl"] = ssl.create_default_context(cafile=ca)
with connect(url, **options) as socket:
    say("open", socket.subprotocol)
    socket.send(HELLO)
    try:
        for message in socket:
            if message[0] != 130:
                say(NAMES.get(message[0], message[0]))
                continue
            payload = message[11 + message[10]:]
            say("push", len(payload), payload[:20].decode())
            if payload == b"ping":
                # Without the deadline a pong that never comes would be waited for until the end.
                pong = socket.ping(b"there?")
                threading.Thread(target=lambda: say("pong", pong.wait(20)), daemon=True).start()
            elif payload == b"parts":
                socket.send([b"\x05\x04", b"ro", b"om"])
            elif payload == b"text":
                socket.send("text")
            elif payload == b"leave":
                socket.close(1000, "enough")
    except ConnectionClosed:
        pass
    say("closed", socket.close_code, socket.close_reason)
