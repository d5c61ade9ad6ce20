// A client by `ws`: says HELLO, prints what comes, and does what it is told by messages.

const fs = require("node:fs");
const { WebSocket } = require("ws");

const NAMES = { 129: "welcome", 131: "joined", 134: "close", 135: "current" };
const [url, user, ca] = process.argv.slice(2);
const token = Buffer.from(user).toString("base64url");
const options = ca === "-" ? {} : { ca: fs.readFileSync(ca) };
const socket = new WebSocket(url, ["pushgate.v1", `pushgate.token.${token}`], options);
const hello = Buffer.concat([Buffer.from([1, 1, 0, 0, 0]), Buffer.alloc(16), Buffer.from([2]), Buffer.from("js"), Buffer.from([0, 0, 0])]);

socket.on("open", () => {
  console.log("open", socket.protocol);
  socket.send(hello);
});
socket.on("message", (message) => {
  if (message[0] !== 130) return console.log(NAMES[message[0]] ?? message[0]);
  const payload = message.subarray(11 + message[10]);
  console.log("push", payload.length, payload.toString("utf8", 0, 20));
  switch (payload.toString()) {
    case "ping":
      return socket.ping("there?");
    case "parts":
      socket.send(Buffer.from([5, 4]), { binary: true, fin: false });
      return socket.send(Buffer.from("room"), { binary: true, fin: true });
    case "text":
      return socket.send("text");
    case "leave":
      return socket.close(1000, "enough");
  }
});
socket.on("pong", (bytes) => console.log("pong", bytes.toString() === "there?" ? "True" : bytes));
socket.on("close", (code, reason) => console.log("closed", code, reason.toString()));
socket.on("error", (error) => console.log("error", error.message));
