// The first view: how things stand, second by second.

import { $, bar, element, say, table, userLink } from "./dom.js";
import { Chart } from "./chart.js";
import { bytes, count, duration, many, millis, rate, when } from "./format.js";

const KEPT = 300;
const times = [];
const columns = {};
const tiles = [];

// A tile: its title, the columns it draws, what it says of an overview and its last second, and
// whether it is as wide as a phone.
function tile(title, drawn, write, says, isWide = drawn.length > 1) {
  const chart = new Chart(title, drawn.length, write);
  const value = element("p", { class: "value" });
  const sub = element("p", { class: "sub" });
  const id = `tile-${tiles.length}`;
  const head = element("h2", { id }, title);
  $("tiles").append(element("article", { class: isWide ? "tile pair" : "tile", "aria-labelledby": id }, head, value, element("div", {}, sub), element("div", {}, ...chart.elements)));
  tiles.push({ drawn, chart, value, sub, says });
}

const one = (text) => element("span", { class: "one" }, text);
const two = (text) => element("span", { class: "two" }, text);
const small = (text) => element("small", {}, text);

export function begin() {
  tile("Connections", ["connections"], count, (state) => {
    const { held, max, sessions, unauthenticated, by_door: doors } = state.connections;
    // With one kind of door there is nothing to tell apart.
    const open = Object.entries(doors).filter(([, there]) => there > 0);
    const apart = open.length > 1 ? ` (${open.map(([door, there]) => `${count(there)} ${door}`).join(", ")})` : "";
    const waiting = unauthenticated > 0 ? `, ${count(unauthenticated)} not let in yet` : "";
    return [[count(held)], `${many(sessions, "session")}${apart}${waiting}; ${count(max)} at most`];
  }, true);
  tile("Opened and closed, a second", ["opened", "closed"], rate, (state, second) => {
    const closed = Object.values(state.connections.closed_total).reduce((sum, each) => sum + each, 0);
    const total = `${count(state.connections.opened_total)} opened, ${count(closed)} closed since the start`;
    return [[one(rate(second.opened)), small(" / "), two(rate(second.closed))], total];
  });
  tile("Pushes a second", ["pushes"], rate, (state, second) => {
    const all = Object.values(state.requests_total.push).reduce((sum, each) => sum + each, 0);
    return [[rate(second.pushes)], `${count(all)} since the start, ${count(state.push_timeouts_total)} TIMEOUT`];
  });
  tile("Deliveries a second", ["deliveries"], rate, (state, second) => {
    const { total, waiting } = state.deliveries;
    return [[rate(second.deliveries)], `${count(total.written)} since the start, ${count(waiting)} waiting`];
  });
  tile("Delivery latency", ["p50_ms", "p99_ms"], millis, (state, second) => [
    [one(millis(second.p50_ms)), small(" p50  "), two(millis(second.p99_ms)), small(" p99")],
    second.p50_ms === null ? "no deliveries in this second" : "from a push to the kernel having it",
  ]);
  tile("Memory of the log", ["log_bytes"], bytes, (state) => {
    const { messages, bytes: held, budget_bytes: budget } = state.log;
    const kept = state.history.messages > 0 ? `; ${bytes(state.history.bytes)} kept` : "";
    return [[bytes(held)], `${count(messages)} messages; ${bytes(budget)} at most${kept}`];
  });
  tile("Sessions behind", ["sessions_behind"], count, (state) => {
    const waiting = state.deliveries.waiting;
    return [[count(state.sessions_behind)], waiting > 0 ? `${many(waiting, "delivery", "deliveries")} ahead of them` : "everybody is level"];
  });
  tile("Datagrams a second", ["datagrams", "rejected"], rate, (state, second) => {
    const { received_total: received, kernel_drops_total: drops } = state.datagrams;
    return [[one(rate(second.datagrams)), small(" in  "), two(rate(second.rejected)), small(" rejected")], `${count(received)} since the start, ${count(drops)} dropped by the kernel`];
  });
}

// The last minutes, as a stream begins with them.
export function past(history) {
  times.splice(0, times.length, ...history.time_ms);
  for (const [name, values] of Object.entries(history)) columns[name] = [...values];
}

export function show(state) {
  const second = state.second ?? { opened: 0, closed: 0, pushes: 0, deliveries: 0, datagrams: 0, rejected: 0, p50_ms: null, p99_ms: null };
  remember(state.second);
  say($("about"), `Version ${state.build}, up for ${duration(state.uptime_s)}, ${count(state.lanes)} users and groups connected`);
  for (const { drawn, chart, value, sub, says } of tiles) {
    const [parts, text] = says(state, second);
    const words = parts.map((part) => (part instanceof Node ? part.textContent : part)).join("");
    if (value.textContent !== words) value.replaceChildren(...parts);
    say(sub, text);
    chart.draw(times, drawn.map((name) => columns[name] ?? []));
  }
  verdicts(state);
  tasks(state);
  storms(state.storms);
  totals($("reasons"), "Connections closed since the start, by reason", "Reason", state.connections.closed_total, "No connection has been closed yet.");
  totals($("rejects"), "Datagrams rejected since the start, by cause", "Cause", state.datagrams.rejected_total, "No datagram has been rejected yet.");
  requests(state.requests_total);
  jobs(state.jobs);
  behindTable($("furthest"), "The ten sessions that are furthest behind", state.behind);
}

function remember(second) {
  if (!second || times.at(-1) >= second.time_ms) return;
  times.push(second.time_ms);
  for (const { drawn } of tiles) {
    for (const name of drawn) (columns[name] ??= []).push(second[name]);
  }
  const over = times.length - KEPT;
  if (over > 0) {
    times.splice(0, over);
    for (const values of Object.values(columns)) values.splice(0, over);
  }
}

// What somebody should look at now; nothing, mostly.
function verdicts({ leaks, overloaded, tasks: kinds }) {
  const told = leaks.map(({ kind, live, explained, oldest_s: oldest }) => [
    "bad",
    `A leak is suspected: ${count(live)} tasks of kind ${kind}, where ${count(explained)} have a reason; the oldest is ${duration(oldest)} old. `,
    "debug/pprof/tasks?debug=1",
    "Where they were spawned",
  ]);
  if (overloaded) told.push(["warn", `Overloaded: tasks wait too long for their turn, so new connections are let in at a trickle. `, "debug/pprof/flamegraph?seconds=10", "What it is at"]);
  const panicked = kinds.filter((kind) => kind.panicked_total > 0);
  for (const { kind, panicked_total: number } of panicked) told.push(["bad", `${count(number)} tasks of kind ${kind} have panicked: a bug, please report it. `]);
  const text = told.map(([, words]) => words).join("");
  if ($("verdicts").dataset.told === text) return;
  $("verdicts").dataset.told = text;
  $("verdicts").replaceChildren(...told.map(([kind, words, href, link]) => {
    const more = href ? [element("a", { href }, link)] : [];
    return element("p", { class: `note ${kind}`, role: "alert" }, words, ...more);
  }));
}

function storms(list) {
  const columns = [["Began", "whole"], ["Lasted", "number"], ["Peak a second", "number"], ["Opened", "number"], ["Closed", "number"], ["Rejected", "number"], ["Mostly", "names"], ["From", "names"]];
  const named = (each) => each.map(({ name, count: number }) => `${name} (${count(number)})`).join(", ");
  const rows = list.map((storm) => {
    const lasted = { text: storm.ongoing ? `${duration(storm.seconds)}, going on` : duration(storm.seconds), kind: storm.ongoing ? "bad" : "" };
    const why = [named(storm.reasons), named(storm.causes)].filter(Boolean).join("; ");
    const more = storm.more_sources ? "more than " : "";
    const from = `${more}${many(storm.sources, "source")}: ${named(storm.top)}`;
    return [when(storm.started_ms), lasted, count(storm.peak), count(storm.opened), count(storm.closed), count(storm.rejected), why || "–", from];
  });
  table($("storms"), "The last storms, the newest first", columns, rows, "No storm since the start.");
}

function totals(target, caption, title, counts, empty) {
  const rows = Object.entries(counts).filter(([, number]) => number > 0);
  rows.sort((left, right) => right[1] - left[1]);
  const all = rows.reduce((sum, [, number]) => sum + number, 0);
  const columns = [[title], ["Since the start", "number"], ["Share", "bar"]];
  const cells = rows.map(([word, number]) => {
    const share = bar(number, all, `${word}: ${Math.round((100 * number) / all)} %`);
    return [word, count(number), share];
  });
  table(target, caption, columns, cells, empty);
}

function requests(ops) {
  const rows = Object.entries(ops).flatMap(([op, statuses]) =>
    Object.entries(statuses).map(([status, number]) => [op, status, count(number)]),
  );
  const columns = [["Request"], ["Result"], ["Since the start", "number"]];
  table($("requests"), "Requests of services since the start, by result", columns, rows, "No service has asked for anything yet.");
}

function jobs({ in_flight: inFlight, max, running }) {
  const columns = [["Job", "whole"], ["For"], ["Age", "number"], ["Visited", "number"], ["Progress", "bar"], ["Written", "number"], ["Waiting", "number"], ["Refused", "number"]];
  const rows = running.map((job) => {
    const target = job.scope === "all" ? "everyone" : `${job.scope} ${job.name}`;
    const more = job.targets > 1 ? ` and ${count(job.targets - 1)} more` : "";
    const progress = bar(job.visited, job.size, `${Math.round((100 * job.visited) / Math.max(job.size, 1))} % visited`);
    return [`push ${job.number}`, { text: target + more, kind: "name" }, millis(job.age_ms), `${count(job.visited)} of ${count(job.size)}`, progress, count(job.written), count(job.waiting), count(job.refused)];
  });
  table($("jobs"), "Push jobs in flight, the oldest first", columns, rows, `No job is in flight; ${count(max)} may be.`);
  say($("jobs-title"), inFlight > running.length && running.length > 0 ? `Jobs in flight: ${count(inFlight)}, of which the oldest` : "Jobs in flight");
}

function tasks({ tasks: kinds, leaks }) {
  const verdict = $("tasks-verdict");
  verdict.className = `verdict ${leaks.length > 0 ? "bad" : "good"}`;
  say(verdict, leaks.length > 0 ? `A leak is suspected: ${leaks.map((leak) => leak.kind).join(", ")}` : "No leak: no kind outgrows what it is there for");
  const columns = [["Kind"], ["Live", "number"], ["There for", "whole"], ["Oldest", "number"], ["Started", "number"], ["Panicked", "number"]];
  const rows = kinds.map((kind) => {
    const work = kind.work === null ? "" : `${count(kind.work)} ${kind.work_is}`;
    const oldest = kind.live > 0 ? duration(kind.oldest_s) : "–";
    const leak = leaks.find((each) => each.kind === kind.kind);
    const live = { text: count(kind.live), kind: leak ? "bad" : "" };
    const panicked = { text: count(kind.panicked_total), kind: kind.panicked_total > 0 ? "bad" : "" };
    const cells = [kind.kind, live, work, oldest, count(kind.started_total), panicked];
    cells.none = kind.live === 0;
    return cells;
  });
  table($("tasks"), "Tasks by kind, beside what they are there for", columns, rows, "No tasks.");
}

// A ranking of those who are behind, here and in its own view.
export function behindTable(target, caption, sessions) {
  const columns = [["User", "name"], ["Device", "name"], ["Messages", "number"], ["Bytes", "number"], ["Oldest", "number"], ["Age", "number"], ["Silent for", "number"], ["Peer", "whole"]];
  const rows = sessions.map((session) => [
    userLink(session.user),
    session.device || "–",
    count(session.behind.messages),
    bytes(session.behind.bytes),
    millis(session.behind.oldest_ms),
    duration(session.age_s),
    duration(session.silent_s),
    session.peer ?? "–",
  ]);
  table(target, caption, columns, rows, "Nobody is behind.");
}
