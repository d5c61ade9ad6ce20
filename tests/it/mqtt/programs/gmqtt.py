# gmqtt: prints what comes, and leaves at "end".
import asyncio
import sys

import gmqtt
from gmqtt.mqtt.constants import MQTTv311, MQTTv50

port, version, user, device = sys.argv[1:]


async def main():
    ended = asyncio.Event()
    lasting = {"session_expiry_interval": 3600} if version == "5" else {}
    client = gmqtt.Client(device, clean_session=False, **lasting)
    client.set_auth_credentials(user, None)

    def on_connect(client, flags, rc, properties):
        print("connected", bool(flags & 1), flush=True)
        wanted = ["user", "all", "group/room", "#"]
        client.subscribe([gmqtt.Subscription(topic, qos=1) for topic in wanted])

    def on_subscribe(client, mid, qos, properties):
        print("subscribed", *qos, flush=True)

    async def on_message(client, topic, payload, qos, properties):
        print(topic, payload.decode(), f"qos={qos}", flush=True)
        if payload == b"end":
            ended.set()
        return 0

    client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
    protocol = MQTTv50 if version == "5" else MQTTv311
    await client.connect("127.0.0.1", int(port), version=protocol)
    await ended.wait()
    # The acknowledgement of the last message goes out after its handler.
    await asyncio.sleep(0.2)
    await client.disconnect()


asyncio.run(main())
