// Looking a user up, kicking, and sending a test push.

import { act, read } from "./api.js";
import { $, element, note, table } from "./dom.js";
import { bytes, count, duration, millis, when } from "./format.js";

let shown = null;
let kicking = null;

export function begin() {
  $("lookup").addEventListener("submit", (event) => {
    event.preventDefault();
    const user = $("lookup-user").value;
    const hash = `#/users/${encodeURIComponent(user)}`;
    if (location.hash === hash) look(user);
    else location.hash = hash;
  });
  $("again").addEventListener("click", () => look(shown));
  $("kick-all").addEventListener("click", () => askToKick({ user: shown }));
  $("kick-form").addEventListener("submit", kick);
  $("push-scope").addEventListener("change", scoped);
  $("push").addEventListener("submit", push);
  $("everyone-form").addEventListener("submit", (event) => {
    event.preventDefault();
    $("everyone-dialog").close();
    send();
  });
  for (const button of document.querySelectorAll("dialog [data-close]")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }
}

// The view of a user, or of none.
export async function look(user) {
  if (!user) {
    $("found").hidden = true;
    note($("lookup-said"), "");
    return;
  }
  $("lookup-user").value = user;
  if ($("push-scope").value === "user") $("push-name").value = user;
  shown = user;
  try {
    const [found] = await Promise.all([read(`v1/sessions?user=${encodeURIComponent(user)}`), lookAtEnds(user)]);
    if (shown !== user) return;
    const many = found.sessions.length;
    note($("lookup-said"), many === 0 ? `${user} is not connected.` : `${user} has ${many === 1 ? "one session" : `${count(many)} sessions`}.`, many === 0 ? "warn" : "");
    sessions(found.sessions);
    $("kick-all").hidden = many === 0;
    $("found").hidden = false;
  } catch (error) {
    note($("lookup-said"), `That could not be asked: ${error.message}`, "bad");
  }
}

async function lookAtEnds(user) {
  const ends = await read(`v1/closed?user=${encodeURIComponent(user)}&limit=50`);
  if (shown !== user) return;
  endsTable($("ends"), `The last connections of ${user} that ended`, ends.connections, "None that is remembered has ended.", false);
}

function sessions(list) {
  const columns = [["Device", "name"], ["Action", "whole"], ["Door"], ["Groups", "names"], ["Age", "number"], ["Silent for", "number"], ["Heartbeat", "number"], ["Behind", "whole"], ["Peer", "whole"], ["Session", "number"]];
  const rows = list.map((session) => {
    const { messages, bytes: size, oldest_ms: oldest } = session.behind;
    const lag = messages === 0 ? "level" : `${count(messages)} messages, ${bytes(size)}, ${millis(oldest)}`;
    // A device without a name cannot be named: it goes with all of them.
    const kick = element("button", { type: "button", class: "danger small", onclick: () => askToKick(session), "aria-label": session.device ? `Kick ${session.user} on ${session.device}` : `Kick all connections of ${session.user}` }, session.device ? "Kick" : "Kick all");
    kick.dataset.key = `kick ${session.session}`;
    return [session.device || "–", kick, session.door, session.groups.join(", ") || "–", duration(session.age_s), duration(session.silent_s), duration(session.heartbeat_s), lag, session.peer ?? "–", String(session.session)];
  });
  table($("sessions"), "Sessions", columns, rows, "Not connected now.");
}

// Connections that ended, here and in their own view.
export function endsTable(target, caption, ends, empty, named) {
  const user = named ? [["User", "name"]] : [];
  const columns = [["When", "whole"], ["Reason"], ["After", "number"], ...user, ["Device", "name"], ["Peer", "whole"]];
  const rows = ends.map((end) => {
    const of = named ? [end.user === null ? { text: "never let in", kind: "muted" } : link(end.user)] : [];
    return [when(end.time_ms), end.reason, duration(end.age_s), ...of, end.device || "–", end.peer];
  });
  table(target, caption, columns, rows, empty);
}

function link(user) {
  const made = element("a", { href: `#/users/${encodeURIComponent(user)}` }, user);
  made.dataset.key = `user ${user}`;
  return made;
}

function askToKick({ user, device }) {
  kicking = device ? { user, device } : { user };
  $("kick-whom").textContent = device
    ? `The connection of ${user} on ${device} is closed at once.`
    : `Every connection of ${user} is closed at once.`;
  $("kick-hold").value = "";
  $("kick-reason").value = "";
  $("kick-dialog").showModal();
}

async function kick(event) {
  event.preventDefault();
  $("kick-dialog").close();
  const body = { ...kicking };
  if ($("kick-hold").value) body.hold = $("kick-hold").value;
  if ($("kick-reason").value) body.reason = $("kick-reason").value;
  const said = await outcome(() => act("v1/kick", body), (answer) => `${count(answer.matched)} closed`);
  await look(shown);
  note($("lookup-said"), `Kick: ${said.text}`, said.kind);
  // A farewell takes a second: only then has the connection ended.
  const user = shown;
  setTimeout(() => lookAtEnds(user).catch(() => {}), 1_500);
}

function scoped() {
  const scope = $("push-scope").value;
  const isAll = scope === "all";
  $("push-name").disabled = isAll;
  $("push-name").required = !isAll;
  if (isAll) $("push-name").value = "";
}

function push(event) {
  event.preventDefault();
  if ($("push-scope").value !== "all") return send();
  $("everyone-whom").textContent = "Every client that is connected receives it.";
  $("everyone-dialog").showModal();
}

async function send() {
  const scope = $("push-scope").value;
  const target = scope === "all" ? { all: true } : { [scope]: $("push-name").value };
  const body = { targets: [target], payload: $("push-payload").value };
  const counts = ({ matched, written, waiting, refused, elapsed_ms: took }) =>
    `matched ${count(matched)}: ${count(written)} written, ${count(waiting)} waiting, ${count(refused)} refused, in ${count(took)} ms`;
  const said = await outcome(() => act("v1/push", body), counts);
  note($("push-said"), said.text, said.kind);
}

// What an action came to, in words.
async function outcome(action, counts) {
  try {
    const answer = await action();
    const isDone = ["done", "accepted", "not_kept"].includes(answer.status);
    const error = answer.error ? `: ${answer.error}` : "";
    const text = isDone ? `${answer.status.toUpperCase()}, ${counts(answer)}` : answer.status.toUpperCase() + error;
    return { text, kind: isDone ? "good" : "bad" };
  } catch (error) {
    return { text: `not done: ${error.message}`, kind: "bad" };
  }
}
