# Eclipse Paho: prints what comes, and leaves at "end".
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

port, version, user, device = sys.argv[1:]
protocol = mqtt.MQTTv5 if version == "5" else mqtt.MQTTv311
lasting = {} if version == "5" else {"clean_session": False}
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, device, protocol=protocol, **lasting)
client.username_pw_set(user)


def on_connect(client, userdata, flags, reason, properties):
    print("connected", flags.session_present, flush=True)
    client.subscribe([("user", 1), ("all", 1), ("group/room", 1), ("#", 1)])


def on_subscribe(client, userdata, mid, reasons, properties):
    print("subscribed", *[reason.value for reason in reasons], flush=True)


def on_message(client, userdata, message):
    print(message.topic, message.payload.decode(), f"qos={message.qos}", flush=True)
    if message.payload == b"end":
        client.disconnect()


client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
properties = None
if version == "5":
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 3600
    client.connect("127.0.0.1", int(port), clean_start=False, properties=properties)
else:
    client.connect("127.0.0.1", int(port))
client.loop_forever(retry_first_connection=False)
