// The dashboard: its views, the stream behind the first of them, and the look of the page.

import { forgetToken, hasToken, listen, read } from "./api.js";
import { $, element, say } from "./dom.js";
import { count, many } from "./format.js";
import * as overview from "./overview.js";
import * as users from "./users.js";

const VIEWS = ["overview", "users", "behind", "closed"];
const THEMES = { auto: "Auto", light: "Light", dark: "Dark" };
const THEME = "pushgate theme";

function themed(theme) {
  document.documentElement.dataset.theme = theme;
  say($("theme"), THEMES[theme]);
  $("theme").setAttribute("aria-label", `Theme: ${THEMES[theme]}`);
  localStorage.setItem(THEME, theme);
}

$("theme").addEventListener("click", () => {
  const names = Object.keys(THEMES);
  themed(names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length]);
});
themed(THEMES[localStorage.getItem(THEME)] ? localStorage.getItem(THEME) : "auto");

$("forget").addEventListener("click", () => {
  forgetToken();
  location.reload();
});

let first = true;

function route() {
  const [name, ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  const view = VIEWS.includes(name) ? name : "overview";
  for (const each of VIEWS) $(each).hidden = each !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const title = $(`${view}-title`);
  document.title = `${title.textContent} – pushgate`;
  if (!first) title.focus({ preventScroll: true });
  first = false;
  if (view === "users") users.look(decoded(rest.join("/")));
  if (view === "behind") behind();
  if (view === "closed") closed();
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// Shows what a page says, or why it says nothing, in one line above its table.
async function ask(path, line, shown) {
  try {
    say($(line), shown(await read(path)));
  } catch (error) {
    say($(line), `That could not be asked: ${error.message}`);
  }
}

function behind() {
  const query = new URLSearchParams({ by: $("behind-by").value, limit: $("behind-limit").value });
  ask(`v1/behind?${query}`, "behind-said", (found) => {
    overview.behindTable($("behind-table"), "The sessions furthest behind", found.sessions);
    const behind = found.sessions_behind;
    return `${many(behind, "session")} ${behind === 1 ? "is" : "are"} behind`;
  });
}

function closed() {
  const query = new URLSearchParams({ limit: $("closed-limit").value });
  if ($("closed-reason").value) query.set("reason", $("closed-reason").value);
  if ($("closed-user").value) query.set("user", $("closed-user").value);
  ask(`v1/closed?${query}`, "closed-said", (found) => {
    users.endsTable($("closed-table"), "Connections that ended, the last first", found.connections, "None of those that are kept.", true);
    return `The last ${count(found.kept)} of ${count(found.closed_total)} are kept`;
  });
}

for (const [form, shown] of [["behind-form", behind], ["closed-form", closed]]) {
  $(form).addEventListener("submit", (event) => {
    event.preventDefault();
    shown();
  });
  for (const select of $(form).querySelectorAll("select")) select.addEventListener("change", shown);
}

function phased(phase) {
  const badge = $("phase");
  const kinds = { ready: "good", starting: "warn", draining: "warn" };
  badge.className = `badge ${kinds[phase] ?? ""}`;
  say(badge, phase);
  badge.hidden = false;
}

function reasons(totals) {
  const select = $("closed-reason");
  if (select.options.length > 1) return;
  for (const word of Object.keys(totals)) select.append(element("option", {}, word));
}

overview.begin();
users.begin();
window.addEventListener("hashchange", route);
route();
listen(
  "v1/events",
  (name, data) => {
    if (name === "history") return overview.past(data);
    phased(data.phase);
    reasons(data.connections.closed_total);
    $("forget").hidden = !hasToken();
    overview.show(data);
  },
  (kind, text) => {
    $("live").className = `live ${kind}`;
    say($("live"), text);
  },
);
