// What is asked of the gateway, with the operator's token where it wants one.

import { $, note } from "./dom.js";

const TOKEN = "pushgate token";
let asking = null;

export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

export const hasToken = () => sessionStorage.getItem(TOKEN) !== null;

export function forgetToken() {
  sessionStorage.removeItem(TOKEN);
}

function headers(more) {
  const token = sessionStorage.getItem(TOKEN);
  return token === null ? more : { ...more, Authorization: `Bearer ${token}` };
}

// Asks for the token, once for all who need it, and waits until one is there.
function askForToken(isWrong) {
  asking ??= new Promise((resolve) => {
    const dialog = $("token-dialog");
    note($("token-said"), isWrong ? "That is not this gateway's token." : "", "bad");
    $("token-form").onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(TOKEN, $("token").value.trim());
      $("token").value = "";
      dialog.onclose = null;
      dialog.close();
      asking = null;
      resolve();
    };
    // Without a token there is nothing to see: it stays until there is one.
    dialog.onclose = () => dialog.showModal();
    dialog.showModal();
  });
  return asking;
}

// A response that is not 401: whoever has no token, or a wrong one, is asked for it.
async function asked(path, options = {}) {
  for (;;) {
    const token = sessionStorage.getItem(TOKEN);
    const response = await fetch(path, { ...options, headers: headers(options.headers ?? {}), cache: "no-store" });
    if (response.status !== 401) return response;
    const challenge = response.headers.get("WWW-Authenticate");
    // A door without a token, to one whom it takes for no service of this machine.
    if (challenge === null && token === null) return response;
    if (sessionStorage.getItem(TOKEN) === token) {
      forgetToken();
      await askForToken(token !== null);
    }
  }
}

async function explained(response) {
  const text = (await response.text()).trim();
  throw new Refused(response.status, text || `status ${response.status}`);
}

// JSON of a page.
export async function read(path) {
  const response = await asked(path);
  return response.ok ? response.json() : explained(response);
}

// Does something, and returns what it came to: its answer is JSON also where it was refused.
export async function act(path, body) {
  const response = await asked(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  try {
    const answer = JSON.parse(text);
    if (typeof answer.status === "string") return answer;
  } catch {
    // It is text for people, then.
  }
  throw new Refused(response.status, text.trim() || `status ${response.status}`);
}

// The events of a path, for ever: EventSource cannot bear a token, so the stream is read here.
// `on` is called with each event's name and data, `state` with how the connection stands.
export async function listen(path, on, state) {
  let pause = 500;
  for (;;) {
    try {
      const response = await asked(path, { headers: { Accept: "text/event-stream" } });
      if (!response.ok) await explained(response);
      state("good", "live");
      for await (const [name, data] of events(response.body)) {
        pause = 500;
        on(name, JSON.parse(data));
      }
      // It ended in order: streams do, every few minutes, and the next one begins with the past.
      state("warn", "reconnecting");
    } catch (error) {
      const full = error instanceof Refused && error.status === 503;
      state("bad", full ? "too many watch; waiting" : "no connection; trying again");
    }
    await new Promise((done) => setTimeout(done, pause));
    pause = Math.min(pause * 2, 8_000);
  }
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const lines = text.slice(0, end).split("\n");
      text = text.slice(end + 2);
      const field = (name) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      if (field("data") !== undefined) yield [field("event") ?? "message", field("data")];
    }
  }
}
