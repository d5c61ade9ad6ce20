// MQTT.js: prints what comes, and leaves at "end".
const mqtt = require('mqtt')

const [port, version, username, clientId] = process.argv.slice(-4)
const protocolVersion = version === '5' ? 5 : 4
const properties = protocolVersion === 5 ? { sessionExpiryInterval: 3600 } : undefined
const client = mqtt.connect({
  host: '127.0.0.1',
  port: Number(port),
  protocolVersion,
  username,
  clientId,
  clean: false,
  properties,
  reconnectPeriod: 0,
  // What was asked for is asked for below.
  resubscribe: false,
})
client.on('connect', (connack) => {
  console.log('connected', connack.sessionPresent ? 'True' : 'False')
  client.subscribe(['user', 'all', 'group/room', '#'], { qos: 1 }, (error, granted) => {
    // A refusal among them is an error here; which one it was is in the packet.
    if (error) return
    console.log('subscribed', ...granted.map((one) => one.qos))
  })
})
client.on('packetreceive', (packet) => {
  if (packet.cmd === 'suback') console.log('subscribed', ...packet.granted)
})
client.on('message', (topic, payload, packet) => {
  console.log(topic, payload.toString(), `qos=${packet.qos}`)
  if (payload.toString() === 'end') setTimeout(() => client.end(), 200)
})
client.on('error', (error) => {
  console.log('error', error.message)
  process.exit(1)
})
